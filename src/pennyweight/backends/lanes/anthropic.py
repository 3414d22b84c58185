"""Anthropic's Message Batches: all requests in one body, and a list of batches that names none of ours.

docs.claude.com/en/docs/build-with-claude/batch-processing and /en/api/creating-message-batches: at most 100,000
requests and 256 MB, no streams, ids of 1 to 64 letters, digits, - and _; 24 hours; results in no order, as JSONL, once
the whole batch has ended, for 29 days; what erred, expired or was cancelled is not billed. A batch has no metadata, so
one that was asked for and whose answer was lost is known again only by the ids in its results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ...request import Headers
from ...routing.batches import Batch, Group, Item
from .api import Ask, Refused, Result, Seen, json_of, read

__all__ = ["AnthropicBatches"]

_VERSION: Headers = (("anthropic-version", "2023-06-01"),)


class AnthropicBatches:
    """Protocol: `api.Api`."""

    most_items = 100_000
    most_bytes = 240 * 10**6
    names_batches = False

    def takes(self, body: Mapping[str, Any]) -> bool:
        return body.get("max_tokens") != 0

    async def upload(self, ask: Ask, batch: Batch, items: Sequence[Item]) -> str:
        return ""

    async def create(self, ask: Ask, batch: Batch, items: Sequence[Item]) -> str:
        requests = [{"custom_id": item.id, "params": msgspec.Raw(item.body)} for item in items]
        headers: Headers = (*_headers(batch.group), ("content-type", "application/json"))
        body = msgspec.json.encode({"requests": requests})
        told = json_of(*await ask("POST", _PATH, headers=headers, body=body), "The batch")
        found = told.get("id")
        if not isinstance(found, str) or not found:
            raise Refused(500, "The batch was taken without an id.")
        return found

    async def find(self, ask: Ask, batch: Batch) -> Sequence[str]:
        after, found = "", []
        while True:
            query = "limit=100" + (f"&after_id={after}" if after else "")
            answer = await ask("GET", _PATH, query=query, headers=_headers(batch.group))
            told = json_of(*answer, "The list of batches")
            page = [one for one in told.get("data") or () if isinstance(one, dict)]
            young = [one for one in page if _moment(one.get("created_at")) >= batch.asked_at - _SLACK_S]
            found += [str(one.get("id")) for one in young if _count(one) == batch.count]
            if not page or len(young) < len(page) or not told.get("has_more"):
                return found
            after = str(page[-1].get("id"))

    async def look(self, ask: Ask, group: Group, remote: str) -> Seen:
        told = json_of(*await ask("GET", f"{_PATH}/{remote}", headers=_headers(group)), "The batch")
        status = str(told.get("processing_status"))
        return Seen("ended" if status == "ended" else "running", why=status)

    async def results(self, ask: Ask, group: Group, remote: str, seen: Seen) -> dict[str, Result]:
        # Not from `results_url`: what a provider's answer names is never called.
        status, content = await ask("GET", f"{_PATH}/{remote}/results", headers=_headers(group))
        if not 200 <= status < 300:
            raise Refused(status, f"The results of a batch were refused with {status}.")
        return dict(filter(None, await read(content, _result)))

    async def cancel(self, ask: Ask, group: Group, remote: str) -> None:
        json_of(*await ask("POST", f"{_PATH}/{remote}/cancel", headers=_headers(group)), "Cancelling a batch")

    async def delete(self, ask: Ask, batch: Batch, files: Sequence[str]) -> None:
        answer = await ask("DELETE", f"{_PATH}/{batch.remote}", headers=_headers(batch.group))
        json_of(*answer, "Deleting a batch")


_PATH = "/v1/messages/batches"
_SLACK_S = 300.0  # how far the provider's clock may be from ours


def _headers(group: Group) -> Headers:
    named = any(name == "anthropic-version" for name, _ in group.headers)
    return group.headers if named else (*group.headers, *_VERSION)


def _count(batch: Mapping[str, Any]) -> int:
    counts = batch.get("request_counts")
    return sum(n for n in counts.values() if isinstance(n, int)) if isinstance(counts, dict) else -1


def _moment(value: Any) -> float:
    """Unix seconds of an RFC 3339 moment; one that cannot be read is taken for young."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return float("inf")
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


class _Error(msgspec.Struct):
    type: str = ""


class _Errored(msgspec.Struct):
    error: _Error | None = None


class _Outcome(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
}


def _result(line: Mapping[str, msgspec.Raw]) -> tuple[str, Result] | None:
    """Of one line, our id and what it says."""
    try:
        name = msgspec.json.decode(line.get("custom_id", b"null"), type=str)
        told = msgspec.json.decode(line.get("result", b"null"), type=_Outcome)
    except msgspec.DecodeError:
        return None
    if told.type == "succeeded":
        return name, Result("answered", 200, bytes(told.message))
    if told.type == "errored":
        kind = _kind(told.error)
        status = _STATUS.get(kind)
        if status is not None:
            return name, Result("refused", status, bytes(told.error))
        return name, Result("unserved", why=kind or "errored")
    return name, Result("unserved", why=told.type)


def _kind(error: msgspec.Raw) -> str:
    """The error's type: it comes in the envelope of the API's errors, or bare."""
    try:
        told = msgspec.json.decode(error, type=_Errored | None)
        if told is not None and told.error is not None:
            return told.error.type
        bare = msgspec.json.decode(error, type=_Error | None)
    except msgspec.DecodeError:
        return ""
    return bare.type if bare is not None else ""
