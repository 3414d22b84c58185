"""OpenAI's Batch API, and that of servers which have it too: a JSONL file, then a batch over it.

platform.openai.com/docs/guides/batch and /docs/api-reference/batch: at most 50,000 requests and 200 MB in a file, one
model and one endpoint, no streams; 24 hours; results in no order, in one file those with an answer and in another
those without; up to 16 pairs of metadata, which come back with the list of batches. A batch that is cancelled or has
expired is billed for what was done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from ...request import Headers
from ...routing.batches import Batch, Group, Item
from .api import Ask, Refused, Result, Seen, json_of, read

__all__ = ["OpenAIBatches"]

_OURS = "pennyweight"
_NOT_IN_A_BATCH = ("background", "conversation", "previous_response_id")
_STATES: Mapping[str, Literal["running", "ended", "failed"]] = {
    "completed": "ended",
    "expired": "ended",
    "cancelled": "ended",
    "failed": "failed",
}


class OpenAIBatches:
    """Protocol: `api.Api`."""

    most_items = 50_000
    most_bytes = 190 * 10**6
    names_batches = True

    def takes(self, body: Mapping[str, Any]) -> bool:
        return not any(body.get(name) for name in _NOT_IN_A_BATCH)

    async def upload(self, ask: Ask, batch: Batch, items: Sequence[Item]) -> str:
        lines = b"".join(_line(batch.group, item) for item in items)
        kind, body = _form(f"{batch.id}.jsonl", lines)
        headers: Headers = (*batch.group.headers, ("content-type", kind))
        told = json_of(*await ask("POST", "/v1/files", headers=headers, body=body), "The batch's file")
        return _id(told, "file")

    async def create(self, ask: Ask, batch: Batch, items: Sequence[Item]) -> str:
        wanted = {
            "input_file_id": batch.upload,
            "endpoint": batch.group.path,
            "completion_window": "24h",
            "metadata": {_OURS: batch.id},
        }
        headers: Headers = (*batch.group.headers, ("content-type", "application/json"))
        body = msgspec.json.encode(wanted)
        return _id(json_of(*await ask("POST", "/v1/batches", headers=headers, body=body), "The batch"), "batch")

    async def find(self, ask: Ask, batch: Batch) -> Sequence[str]:
        after = ""
        while True:
            query = "limit=100" + (f"&after={after}" if after else "")
            answer = await ask("GET", "/v1/batches", query=query, headers=batch.group.headers)
            told = json_of(*answer, "The list of batches")
            page = [found for found in told.get("data") or () if isinstance(found, dict)]
            for found in page:
                metadata = found.get("metadata")
                if isinstance(metadata, dict) and metadata.get(_OURS) == batch.id:
                    return (str(found.get("id")),)
            created = [at for found in page if isinstance(at := found.get("created_at"), int | float)]
            if not page or not told.get("has_more") or min(created, default=0.0) < batch.asked_at - _SLACK_S:
                return ()
            after = str(page[-1].get("id"))

    async def look(self, ask: Ask, group: Group, remote: str) -> Seen:
        answer = await ask("GET", f"/v1/batches/{remote}", headers=group.headers)
        told = json_of(*answer, "The batch")
        state = _STATES.get(str(told.get("status")), "running")
        files = tuple(str(found) for name in ("output_file_id", "error_file_id") if (found := told.get(name)))
        return Seen(state, files, why=_failure(told) if state == "failed" else str(told.get("status", "")))

    async def results(self, ask: Ask, group: Group, remote: str, seen: Seen) -> dict[str, Result]:
        found: dict[str, Result] = {}
        for file in seen.files:
            status, content = await ask("GET", f"/v1/files/{file}/content", headers=group.headers)
            if not 200 <= status < 300:
                raise Refused(status, f"The results of a batch were refused with {status}.")
            for name, result in await read(content, _result):
                if name and (name not in found or found[name].kind == "unserved"):
                    found[name] = result
        return found

    async def cancel(self, ask: Ask, group: Group, remote: str) -> None:
        json_of(*await ask("POST", f"/v1/batches/{remote}/cancel", headers=group.headers), "Cancelling a batch")

    async def delete(self, ask: Ask, batch: Batch, files: Sequence[str]) -> None:
        for file in (batch.upload, *files):
            json_of(*await ask("DELETE", f"/v1/files/{file}", headers=batch.group.headers), "Deleting a file")


_SLACK_S = 300.0  # how far the provider's clock may be from ours


def _line(group: Group, item: Item) -> bytes:
    line = {"custom_id": item.id, "method": "POST", "url": group.path, "body": msgspec.Raw(item.body)}
    return msgspec.json.encode(line) + b"\n"


def _form(name: str, content: bytes) -> tuple[str, bytes]:
    """RFC 7578: the content type and the body. The boundary is our own id, which no JSON line begins with."""
    boundary = f"pennyweight-{name}".replace(".", "-")
    while f"--{boundary}".encode() in content:
        boundary += "-"
    head = (
        f'--{boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n'
        "content-type: application/jsonl\r\n\r\n"
    )
    return f"multipart/form-data; boundary={boundary}", head.encode() + content + f"\r\n--{boundary}--\r\n".encode()


def _id(told: Mapping[str, Any], what: str) -> str:
    found = told.get("id")
    if not isinstance(found, str) or not found:
        raise Refused(500, f"The {what} was taken without an id.")
    return found


class _Answer(msgspec.Struct):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Fault(msgspec.Struct):
    code: str | None = None


def _result(line: Mapping[str, msgspec.Raw]) -> tuple[str, Result]:
    """Of one line, our id and what it says."""
    try:
        name = msgspec.json.decode(line.get("custom_id", b"null"), type=str)
    except msgspec.DecodeError:
        return "", Result("unserved")
    try:
        answer = msgspec.json.decode(line.get("response", b"null"), type=_Answer | None)
        fault = msgspec.json.decode(line.get("error", b"null"), type=_Fault | None)
    except msgspec.DecodeError:
        return name, Result("unserved", why="its line cannot be read")
    if answer is None:
        return name, Result("unserved", why=(fault.code if fault is not None else None) or "no answer")
    if 200 <= answer.status_code < 300:
        return name, Result("answered", answer.status_code, bytes(answer.body))
    if 400 <= answer.status_code < 500 and answer.status_code not in (408, 409, 429):
        return name, Result("refused", answer.status_code, bytes(answer.body))
    return name, Result("unserved", answer.status_code, why=f"status {answer.status_code}")


def _failure(told: Mapping[str, Any]) -> str:
    """The codes of what was wrong with the whole batch; never its texts, which may quote a prompt."""
    errors = told.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else None
    codes = [str(e.get("code")) for e in data or () if isinstance(e, dict) and e.get("code")]
    return ", ".join(dict.fromkeys(codes)) or "failed"
