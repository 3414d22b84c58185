"""A provider on loopback that has Batch APIs, as OpenAI and Anthropic document theirs, and answers single calls too.

OpenAI: /v1/files (multipart, JSONL), /v1/batches (create, list, look, cancel), /v1/files/{id}/content. Anthropic:
/v1/messages/batches (create, list, look, results, cancel). Results come in another order than the requests, those
without an answer in a file of their own (OpenAI) or among the others (Anthropic). Every answer says what was asked, so
that a test sees whose it is. Files and batches live in a folder if one is given, so that they outlast the object.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from .http import Exchange, LoopbackServer

__all__ = ["BatchProvider", "Job"]

OPENAI, ANTHROPIC = "openai", "anthropic"
_MODES = ("ok", "refuse", "fault", "expire", "drop", "garbage")


class Job(msgspec.Struct):
    """One batch. `state`: running, ended, failed, expired, cancelled."""

    id: str
    kind: str
    requests: list[dict[str, Any]]  # custom_id, body, url
    created_at: float
    done_at: float  # when it ends by itself
    endpoint: str = ""
    metadata: dict[str, str] | None = None
    input_file: str = ""
    state: str = "running"
    cancelled: bool = False
    errors: list[str] = []


class BatchProvider:
    """`async with BatchProvider() as provider`: root in `provider.url`.

    takes_s: from the creation of a batch to its end. A request whose text has "[refuse]", "[fault]", "[expire]",
    "[drop]" or "[garbage]" in it comes to that; `fail` lets whole batches fail at validation. lose_answer: the next
    creation happens, and its answer never arrives. refuse: statuses with which the next requests are answered.
    """

    def __init__(self, *, takes_s: float = 0.2, port: int = 0, now: Callable[[], float] = time.time) -> None:
        self.takes_s = takes_s
        self.jobs: dict[str, Job] = {}
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []  # method and path of everything
        self.singles: list[dict[str, Any]] = []  # bodies of calls that were asked one by one
        self.billed: list[tuple[str, str, int]] = []  # "batch" or "single", the text asked, tokens
        self.fail: list[str] = []  # codes with which the next batches fail
        self.lose_answer = 0
        self.lose_request = 0
        self.refuse: list[int] = []
        self.headers: list[dict[str, str]] = []
        self._now = now
        self._server = LoopbackServer(self._answer, port=port)
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        return self._server.url

    async def __aenter__(self) -> BatchProvider:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._server.__aexit__(*exc)

    def finish(self) -> None:
        """Let all batches end now."""
        for job in self.jobs.values():
            job.done_at = min(job.done_at, self._now())

    # --- routes -----------------------------------------------------------------------------------------------

    async def _answer(self, exchange: Exchange) -> None:
        path = exchange.path.removeprefix("/v1")
        self.asked.append((exchange.method, path))
        self.headers.append(dict(exchange.headers))
        self._settle()
        if "batches" in path or path.startswith("/files"):
            if self.refuse:
                return await self._error(exchange, self.refuse.pop(0), "refused by the test")
            if path.startswith("/messages/batches"):
                return await self._anthropic(exchange, path.removeprefix("/messages/batches").strip("/"))
            return await self._openai(exchange, path)
        return await self._single(exchange, path)

    async def _openai(self, exchange: Exchange, path: str) -> None:
        if exchange.method == "POST" and path == "/files":
            return await self._upload(exchange)
        if exchange.method == "DELETE" and path.startswith("/files/"):
            name = path.removeprefix("/files/")
            gone = self.files.pop(name, None) is not None
            told = {"id": name, "object": "file", "deleted": gone}
            return await exchange.send(200 if gone else 404, msgspec.json.encode(told), headers=_JSON)
        if found := re.fullmatch(r"/files/([^/]+)/content", path):
            content = self.files.get(found[1])
            if content is None:
                return await self._error(exchange, 404, f"No such File object: {found[1]}")
            return await exchange.send(200, content, headers={"content-type": "application/octet-stream"})
        if path == "/batches" and exchange.method == "POST":
            return await self._create_openai(exchange)
        if path == "/batches":
            return await self._listed(exchange, OPENAI)
        name, _, verb = path.removeprefix("/batches/").partition("/")
        job = self.jobs.get(name)
        if job is None or job.kind != OPENAI:
            return await self._error(exchange, 404, f"No batch found with id '{name}'.")
        if verb == "cancel":
            self._cancel(job)
        return await exchange.send(200, msgspec.json.encode(self._openai_object(job)), headers=_JSON)

    async def _upload(self, exchange: Exchange) -> None:
        kind = exchange.header("content-type")
        boundary = kind.partition("boundary=")[2]
        parts = _parts(exchange.body, boundary) if kind.startswith("multipart/form-data") and boundary else {}
        if parts.get("purpose") != b"batch" or "file" not in parts:
            return await self._error(exchange, 400, "Missing required parameter: 'purpose' must be 'batch'.")
        name = f"file-{next(self._numbers):08d}"
        self.files[name] = parts["file"]
        told = {"id": name, "object": "file", "bytes": len(parts["file"]), "purpose": "batch", "status": "processed"}
        return await exchange.send(200, msgspec.json.encode(told), headers=_JSON)

    async def _create_openai(self, exchange: Exchange) -> None:
        wanted = msgspec.json.decode(exchange.body)
        content = self.files.get(wanted.get("input_file_id", ""))
        if content is None or wanted.get("completion_window") != "24h":
            return await self._error(exchange, 400, "Invalid input_file_id or completion_window.")
        lines = [msgspec.json.decode(line) for line in content.splitlines() if line.strip()]
        requests = [{"custom_id": one["custom_id"], "url": one["url"], "body": one["body"]} for one in lines]
        job = self._job(OPENAI, requests, endpoint=wanted["endpoint"], metadata=wanted.get("metadata"))
        job.input_file = wanted["input_file_id"]
        bad = [*self.fail[:1], *_invalid_openai(job)]
        self.fail = self.fail[1:]
        if bad:
            job.state, job.errors = "failed", bad
        return await self._created(exchange, job, self._openai_object(job))

    async def _anthropic(self, exchange: Exchange, rest: str) -> None:
        if not exchange.header("anthropic-version"):
            return await self._error(exchange, 400, "anthropic-version: header is required", anthropic=True)
        if not rest and exchange.method == "POST":
            requests = [
                {"custom_id": one["custom_id"], "url": "/v1/messages", "body": one["params"]}
                for one in msgspec.json.decode(exchange.body)["requests"]
            ]
            names = [one["custom_id"] for one in requests]
            streams = any(one["body"].get("stream") for one in requests)
            if len(set(names)) < len(names) or not all(_NAME.fullmatch(name) for name in names) or streams:
                return await self._error(exchange, 400, "requests: invalid", anthropic=True)
            if self.fail:
                return await self._error(exchange, 400, self.fail.pop(0), anthropic=True)
            made = self._job(ANTHROPIC, requests)
            return await self._created(exchange, made, self._anthropic_object(made))
        if not rest:
            return await self._listed(exchange, ANTHROPIC)
        name, _, verb = rest.partition("/")
        known = self.jobs.get(name)
        if known is None or known.kind != ANTHROPIC:
            return await self._error(exchange, 404, "Message batch not found.", anthropic=True)
        job = known
        if exchange.method == "DELETE":
            if job.state == "running":
                return await self._error(exchange, 400, "The batch has not ended.", anthropic=True)
            self.files.pop(f"{job.id}-results", None)
            told = {"id": job.id, "type": "message_batch_deleted"}
            return await exchange.send(200, msgspec.json.encode(told), headers=_JSON)
        if verb == "results":
            if job.state == "running":
                return await self._error(exchange, 404, "Batch has no available results.", anthropic=True)
            return await exchange.send(200, self.files[f"{job.id}-results"], headers=_JSONL)
        if verb == "cancel":
            self._cancel(job)
        return await exchange.send(200, msgspec.json.encode(self._anthropic_object(job)), headers=_JSON)

    async def _created(self, exchange: Exchange, job: Job, told: Mapping[str, Any]) -> None:
        if self.lose_request:  # it never came through
            self.lose_request -= 1
            del self.jobs[job.id]
            return exchange.cut()
        if self.lose_answer:
            self.lose_answer -= 1
            return exchange.cut()
        return await exchange.send(200, msgspec.json.encode(told), headers=_JSON)

    async def _listed(self, exchange: Exchange, kind: str) -> None:
        jobs = sorted((job for job in self.jobs.values() if job.kind == kind), key=lambda job: -job.created_at)
        query = dict(pair.partition("=")[::2] for pair in exchange.query.split("&") if pair)
        after = query.get("after") or query.get("after_id")
        names = [job.id for job in jobs]
        start = names.index(after) + 1 if after in names else 0
        page = jobs[start : start + int(query.get("limit", "20"))]
        show = self._openai_object if kind == OPENAI else self._anthropic_object
        told = {"object": "list", "data": [show(job) for job in page], "has_more": start + len(page) < len(jobs)}
        return await exchange.send(200, msgspec.json.encode(told), headers=_JSON)

    async def _single(self, exchange: Exchange, path: str) -> None:
        body = msgspec.json.decode(exchange.body)
        self.singles.append(body)
        answer = _answered(f"/v1{path}", body, next(self._numbers), tier="standard")
        self.billed.append(("single", _text(body), _tokens(body)))
        await asyncio.sleep(0)
        if "[refuse]" in _text(body):
            return await self._error(exchange, 400, "refused", anthropic=path == "/messages")
        return await exchange.send(200, msgspec.json.encode(answer), headers=_JSON)

    async def _error(self, exchange: Exchange, status: int, message: str, *, anthropic: bool = False) -> None:
        error: dict[str, Any] = {"message": message, "type": "invalid_request_error"}
        told = {"type": "error", "error": error} if anthropic else {"error": {**error, "param": None, "code": None}}
        return await exchange.send(status, msgspec.json.encode(told), headers=_JSON)

    # --- batches ----------------------------------------------------------------------------------------------

    def _job(self, kind: str, requests: list[dict[str, Any]], **fields: Any) -> Job:
        now = self._now()
        prefix = "batch_" if kind == OPENAI else "msgbatch_"
        job = Job(f"{prefix}{next(self._numbers):06d}", kind, requests, now, now + self.takes_s, **fields)
        self.jobs[job.id] = job
        return job

    def _cancel(self, job: Job) -> None:
        """What is under way is finished and billed: here every second request, as of a batch that was half done."""
        if job.state == "running":
            job.cancelled = True
            job.done_at = self._now()
            self._settle()

    def _settle(self) -> None:
        for job in self.jobs.values():
            if job.state == "running" and job.done_at <= self._now():
                self._end(job)

    def _end(self, job: Job) -> None:
        answers: list[dict[str, Any]] = []
        faults: list[dict[str, Any]] = []
        for number, one in enumerate(job.requests):
            text = _text(one["body"])
            mode = next((mode for mode in _MODES if f"[{mode}]" in text), "ok")
            if job.cancelled and number % 2:
                mode = "cancel"
            if mode == "drop":
                continue
            if mode == "ok":
                self.billed.append(("batch", text, _tokens(one["body"])))
            line = self._line(job, one, "ok" if mode == "garbage" else mode)
            if mode == "garbage":  # an answer that is none, which all the same was made
                self.billed.append(("batch", text, 0))
                (line["result"] if job.kind == ANTHROPIC else line["response"]).update(_GARBAGE[job.kind])
            (answers if mode in ("ok", "garbage") or job.kind == ANTHROPIC else faults).append(line)
        answers.reverse()  # in no order that anybody may rely on
        if job.kind == ANTHROPIC:
            self.files[f"{job.id}-results"] = _jsonl(answers)
        else:
            self.files[f"{job.id}-output"] = _jsonl(answers)
            self.files[f"{job.id}-errors"] = _jsonl(faults)
        job.state = "cancelled" if job.cancelled else "ended"

    def _line(self, job: Job, one: Mapping[str, Any], mode: str) -> dict[str, Any]:
        number, name = next(self._numbers), one["custom_id"]
        body = _answered(one["url"], one["body"], number)
        if job.kind == OPENAI:
            line: dict[str, Any] = {"id": f"batch_req_{number}", "custom_id": name, "response": None, "error": None}
            if mode in ("expire", "cancel"):
                code = "batch_expired" if mode == "expire" else "batch_cancelled"
                return line | {"error": {"code": code, "message": "This request could not be executed."}}
            fault = {"error": {"message": mode, "type": "invalid_request_error", "param": None, "code": None}}
            status = {"refuse": 400, "fault": 500}.get(mode, 200)
            told = {"status_code": status, "request_id": f"req_{number}", "body": fault if status != 200 else body}
            return line | {"response": told}
        match mode:
            case "expire" | "cancel":
                result: dict[str, Any] = {"type": "expired" if mode == "expire" else "canceled"}
            case "refuse" | "fault":
                kind = "invalid_request_error" if mode == "refuse" else "api_error"
                result = {"type": "errored", "error": {"type": "error", "error": {"type": kind, "message": mode}}}
            case _:
                result = {"type": "succeeded", "message": body}
        return {"custom_id": name, "result": result}

    def _openai_object(self, job: Job) -> dict[str, Any]:
        status = {"running": "in_progress", "ended": "completed"}.get(job.state, job.state)
        ended = job.state in ("ended", "cancelled", "expired")
        output, errors = (self.files.get(f"{job.id}-{name}") if ended else None for name in ("output", "errors"))
        return {
            "id": job.id,
            "object": "batch",
            "endpoint": job.endpoint,
            "errors": {"object": "list", "data": [{"code": code, "message": code, "line": 1} for code in job.errors]}
            if job.errors
            else None,
            "input_file_id": job.input_file,
            "completion_window": "24h",
            "status": status,
            "output_file_id": f"{job.id}-output" if output else None,
            "error_file_id": f"{job.id}-errors" if errors else None,
            "created_at": int(job.created_at),
            "request_counts": {"total": len(job.requests), "completed": 0, "failed": 0},
            "metadata": job.metadata,
        }

    def _anthropic_object(self, job: Job) -> dict[str, Any]:
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        if job.state == "running":
            counts["processing"] = len(job.requests)
        else:
            lines = self.files.get(f"{job.id}-results", b"").splitlines()
            for line in lines:
                counts[msgspec.json.decode(line)["result"]["type"]] += 1
        return {
            "id": job.id,
            "type": "message_batch",
            "processing_status": "in_progress" if job.state == "running" else "ended",
            "request_counts": counts,
            "created_at": datetime.fromtimestamp(job.created_at, UTC).isoformat(),
            "expires_at": datetime.fromtimestamp(job.created_at + 86_400, UTC).isoformat(),
            "ended_at": None,
            "cancel_initiated_at": None,
            "archived_at": None,
            "results_url": None if job.state == "running" else f"{self.url}/v1/messages/batches/{job.id}/results",
        }


_GARBAGE: dict[str, dict[str, Any]] = {OPENAI: {"body": "oops"}, ANTHROPIC: {"message": ["oops"]}}
_JSON = {"content-type": "application/json"}
_JSONL = {"content-type": "application/x-jsonl"}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _invalid_openai(job: Job) -> list[str]:
    names = [one["custom_id"] for one in job.requests]
    found = ["duplicate_custom_id"] if len(set(names)) < len(names) else []
    found += ["mismatched_url"] if any(one["url"] != job.endpoint for one in job.requests) else []
    found += ["mismatched_model"] if len({one["body"].get("model") for one in job.requests}) > 1 else []
    found += ["stream"] if any(one["body"].get("stream") for one in job.requests) else []
    return found


def _parts(body: bytes, boundary: str) -> dict[str, bytes]:
    """The fields of a form, RFC 7578."""
    found: dict[str, bytes] = {}
    for part in body.split(f"--{boundary}".encode()):
        head, gap, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]+)"', head)
        if gap and name:
            found[name[1].decode()] = content.removesuffix(b"\r\n")
    return found


def _jsonl(lines: list[dict[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def _text(body: Mapping[str, Any]) -> str:
    """What was asked, of any protocol: the last of it that is text."""
    asked = body.get("messages") or body.get("input") or ""
    if isinstance(asked, str):
        return asked
    if asked and isinstance(asked[-1], str):
        return " | ".join(asked)
    content = asked[-1].get("content", "") if asked and isinstance(asked[-1], dict) else ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content if isinstance(part, dict))


def _tokens(body: Mapping[str, Any]) -> int:
    return max(len(msgspec.json.encode(body)) // 4, 1)


def _answered(url: str, body: Mapping[str, Any], number: int, *, tier: str = "batch") -> dict[str, Any]:
    """The answer to one request of that endpoint."""
    text, prompt, model = f"answer to: {_text(body)}", _tokens(body), body.get("model", "")
    if url.endswith("/embeddings"):
        asked = body.get("input", "")
        inputs = [asked] if isinstance(asked, str) or (asked and isinstance(asked[0], int)) else asked
        data = [
            {"object": "embedding", "index": index, "embedding": [float(len(str(one))), 1.0]}
            for index, one in enumerate(inputs)
        ]
        usage = {"prompt_tokens": prompt, "total_tokens": prompt}
        return {"object": "list", "data": data, "model": model, "usage": usage}
    if url.endswith("/messages"):
        return {
            "id": f"msg_{number:08d}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": prompt, "output_tokens": 10, "service_tier": tier},
        }
    if url.endswith("/responses"):
        part = {"type": "output_text", "text": text, "annotations": []}
        item = {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        usage = {"input_tokens": prompt, "output_tokens": 10, "total_tokens": prompt + 10}
        facts = {"id": f"resp_{number}", "object": "response", "created_at": 1_800_000_000, "status": "completed"}
        return {**facts, "model": model, "output": [item], "usage": usage}
    usage = {"prompt_tokens": prompt, "completion_tokens": 10, "total_tokens": prompt + 10}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    facts = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1_800_000_000, "model": model}
    return {**facts, "choices": [choice], "usage": usage}
