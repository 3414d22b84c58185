"""Whose call it is: session, agent, task and skill from what clients already send, cheapest sign first.

Reads headers, a few top-level fields and the edges of a few messages; the conversation is never built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from .call import Housekeeping, Identity
from .errors import BadRequest
from .prefix import SessionIndex, items
from .request import Envelope, Operation, Request

__all__ = ["SIGNS", "began_at", "from_openclaw", "housekeeping", "identify", "session_key"]


def identify(
    request: Request, tenant: str = "local", *, index: SessionIndex | None = None, now: float = 0.0
) -> Identity:
    """Who asks. Never raises: a body that cannot be read tells nothing.

    index: gives sessions to callers that name none (see SessionIndex); without one they stay "". now: seconds.
    """
    envelope = _envelope(request)
    headers = request.fields
    if _TELLING.isdisjoint(headers):  # as most bare SDKs: nothing to look for
        headers = _NOTHING
    session = source = ""
    if headers or (envelope is not None and (envelope.cache_key or envelope.metadata is not None)):
        session, source = _named(headers, envelope)
    agent = task = skill = ""
    if headers:
        agent = _value(headers.get("x-pennyweight-agent")) or _value(headers.get("x-clawrouter-agent-id"))
        task, skill = _value(headers.get("x-pennyweight-task")), _value(headers.get("x-pennyweight-skill"))
    if not headers and envelope is not None and _signless(request):
        if not session:
            session, source = _unnamed(request, envelope, tenant, index, now)
        return Identity(tenant, session, "", "", "", None, source if session else "")
    system = _system_head(envelope) if envelope is not None else b""
    openclaw = b"openclaw" in system.lower() or headers.get("x-clawrouter-client") == "openclaw"
    if openclaw and envelope is not None and not (session and agent):
        told = _runtime(envelope)
        agent = agent or _value(told.get("agent"))
        if not session:
            session, source = _value(told.get("sessionId") or told.get("session")), "runtime line"
    if not session and envelope is not None:
        session, source = _unnamed(request, envelope, tenant, index, now)
    chore = _chore(request, envelope, system, openclaw=openclaw)
    return Identity(tenant, session, agent, task, skill, chore, source if session else "")


_NOTHING: Mapping[str, str] = {}
_GENERATE, _OTHER = Operation.GENERATE, Operation.OTHER


def _unnamed(
    request: Request, envelope: Envelope, tenant: str, index: SessionIndex | None, now: float
) -> tuple[str, str]:
    """The session of a call that nothing names, and what told it: the user, or the conversation itself."""
    if envelope.user and isinstance(envelope.user, str) and (found := _value(envelope.user)):
        return found, "user"
    if envelope.metadata is not None and (found := _value(_metadata(envelope).get("user_id"))):
        return found, "metadata.user_id"
    if index is None or request.operation is not _GENERATE:
        return "", ""
    try:
        return index.session(tenant, request, now=now), "derived"
    except (BadRequest, msgspec.DecodeError):
        return "", ""


def _envelope(request: Request) -> Envelope | None:
    if request.operation is _OTHER or not request.raw:
        return None
    try:
        return request.envelope
    except BadRequest:
        return None


def _named(headers: Mapping[str, str], envelope: Envelope | None) -> tuple[str, str]:
    """The session that a header or a field names, and which."""
    for name in _FIRST if headers else ():
        if found := _value(headers.get(name)):
            return found, name
    if envelope is not None and envelope.prompt_cache_key and (found := _value(envelope.prompt_cache_key)):
        return found, "prompt_cache_key"
    for name in _SECOND if headers else ():
        if found := _value(headers.get(name)):
            return found, name
    if envelope is not None and envelope.metadata is not None and (found := _claude_session(envelope)):
        return found, "metadata.user_id"
    for name in _LAST if headers else ():
        if found := _value(headers.get(name)):
            return found, name
    return "", ""


_FIRST = ("x-pennyweight-session", "x-clawrouter-session-id")
_SECOND = ("x-session-id", "x-claude-code-session-id")
_LAST = ("session-id", "session_id")  # Codex; some versions write an underscore
_OTHERS = (
    "x-pennyweight-agent",
    "x-pennyweight-task",
    "x-pennyweight-skill",
    "x-clawrouter-agent-id",
    "x-clawrouter-client",
)
_TELLING = frozenset((*_FIRST, *_SECOND, *_LAST, *_OTHERS))
"""All headers that say whose call it is."""


_PRINTABLE = re.compile(r"[\x20-\x7e\xa0-\U0010ffff]{1,256}")


def _value(text: str | None) -> str:
    """A name as it may stand in a ledger: trimmed, printable, at most 256 characters; else ""."""
    if not text:
        return ""
    text = text.strip()
    return text if _PRINTABLE.fullmatch(text) else ""


def _metadata(envelope: Envelope) -> Mapping[str, Any]:
    if envelope.metadata is None:
        return {}
    try:
        metadata = msgspec.json.decode(envelope.metadata)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    if not isinstance(metadata, dict):
        return {}
    return {key: value for key, value in metadata.items() if isinstance(value, str)}


def _claude_session(envelope: Envelope) -> str:
    """Claude Code's user_id is JSON with a session_id; older ones send "user_…_account_…_session_<uuid>"."""
    user_id = _metadata(envelope).get("user_id", "")
    if user_id.startswith("{"):
        try:
            told = msgspec.json.decode(user_id.encode())
        except (msgspec.DecodeError, UnicodeEncodeError):
            return ""
        session = told.get("session_id") if isinstance(told, dict) else None
        return _value(session) if isinstance(session, str) else ""
    return _value(user_id.rpartition("_session_")[2]) if "_session_" in user_id else ""


# --- OpenClaw ----------------------------------------------------------------------------------------------

_RUNTIME = re.compile(rb"Runtime: (agent=[^\\\"\n]{1,600})")


def from_openclaw(request: Request) -> bool:
    """Whether the client is OpenClaw, told by a header or the head of the system prompt. Never raises."""
    if request.header("x-clawrouter-client") == "openclaw":
        return True
    envelope = _envelope(request)
    return envelope is not None and b"openclaw" in _system_head(envelope).lower()


def session_key(request: Request) -> str:
    """What OpenClaw calls the session beside its id, "agent:main:cron:…": which kind of session it is. "" for others.
    Never raises."""
    envelope = _envelope(request)
    if envelope is None or not from_openclaw(request):
        return ""
    return _value(_runtime(envelope).get("session"))


def _runtime(envelope: Envelope) -> Mapping[str, str]:
    """OpenClaw's line "Runtime: agent=… | session=… | sessionId=… | …".

    It ends the system prompt (Anthropic, Responses) or the first user message (Chat).
    """
    places: list[bytes] = []
    if envelope.system is not None:
        places.append(_tail(envelope.system, 1500))
    elif envelope.messages:
        first_user = next((m for m in envelope.messages[:4] if b'"user"' in _edges(m)), None)
        if first_user is not None:
            places.append(_tail(first_user, 1500))
        places.append(_tail(envelope.messages[0], 1500))
    elif envelope.input is not None:
        # The developer message is the first item; its end is somewhere in the first part of the list.
        places.append(bytes(memoryview(envelope.input)[:131_072]))
    for place in places:
        if found := _RUNTIME.search(place):
            pairs = (part.partition("=") for part in found[1].decode("utf-8", "replace").split(" | "))
            return {key.strip(): value.strip() for key, _, value in pairs}
    return {}


# --- housekeeping ------------------------------------------------------------------------------------------

_HEAD = 400  # bytes: a sign stands at the beginning of its text, so quoted conversations do not look like one

_SYSTEM_SIGNS: Mapping[bytes, Housekeeping] = {
    b"You are a context summarization assistant": "compaction",  # OpenClaw
    b"You are a helpful AI assistant tasked with summarizing conversations": "compaction",  # Claude Code, opencode
    b"*Briefly* summarize this partial conversation": "compaction",  # aider
    b"You are a title generator": "title",  # opencode
    b"Analyze if this message indicates a new conversation topic": "title",  # Claude Code
    b"Generate a concise, sentence-case title": "title",  # Claude Code
}

_WITHIN_SIGNS: Mapping[bytes, Housekeeping] = {  # after "You are …"
    b"anchored context summarization assistant": "compaction",  # opencode
    b"generates concise, one-line Git commit messages": "commit_message",  # aider
}

_USER_SIGNS: Mapping[bytes, Housekeeping] = {
    b"Your task is to create a detailed summary of the conversation so far": "compaction",  # Claude Code
    b"You are performing a CONTEXT CHECKPOINT COMPACTION": "compaction",  # Codex
    b"Provide a detailed prompt for continuing our conversation above": "compaction",  # opencode
    b"Please write a 5-10 word title for the following conversation": "title",  # Claude Code
}

_OPENCLAW_SIGNS: Mapping[bytes, Housekeeping] = {
    b"Follow the heartbeat monitor scratch context": "heartbeat",
    b"Read HEARTBEAT.md if it exists": "heartbeat",
    b"Pre-compaction memory flush": "memory_flush",
}

SIGNS = tuple(sign.decode() for sign in (*_SYSTEM_SIGNS, *_WITHIN_SIGNS, *_USER_SIGNS, *_OPENCLAW_SIGNS))
"""The clients' constant phrases that housekeeping is told by; redaction keeps them."""


def housekeeping(request: Request, *, openclaw: bool | None = None) -> Housekeeping | None:
    """Which chore of its client a call is, None for the user's own work. Never raises.

    openclaw: whether the client is OpenClaw, when the caller knows.
    """
    envelope = _envelope(request)
    system = _system_head(envelope) if envelope is not None else b""
    return _chore(
        request, envelope, system, openclaw=openclaw if openclaw is not None else b"openclaw" in system.lower()
    )


def _signless(request: Request) -> bool:
    """Whether a call is known to be no chore and not OpenClaw's: nothing in its short body looks like a sign, wherever
    it stands. One look in place of finding the places where signs count."""
    raw = request.raw
    if len(raw) > _SHORT_BYTES or request.operation is not _GENERATE:
        return False
    if _BEGINNING.search(raw) or b"openclaw" in raw.lower() or request.path.endswith("/compact"):
        return False
    # One by one: a pattern of several without a common beginning takes ten times as long.
    for sign in _WITHIN_SIGNS:  # noqa: SIM110 - a generator costs as much as the looking
        if sign in raw:
            return False
    return True


_SHORT_BYTES = 2_048


def _chore(request: Request, envelope: Envelope | None, system: bytes, *, openclaw: bool) -> Housekeeping | None:
    """system: the beginning of the system prompt."""
    if request.operation is Operation.COUNT:
        return "count"
    if envelope is None or request.operation is not Operation.GENERATE:
        return None
    if request.path.endswith("/responses/compact"):
        return "compaction"
    if system and not envelope.tools:
        found = _sign(system, _SYSTEM_SIGNS) if _BEGINNING.search(system) else _sign(system, _WITHIN_SIGNS)
        if found is not None:
            return found
    if openclaw:
        return _openclaw_chore(request, envelope)
    last = _last_head(envelope)
    return _sign(last, _USER_SIGNS) if _BEGINNING.search(last) else None


def _sign(text: bytes, signs: Mapping[bytes, Housekeeping]) -> Housekeeping | None:
    for sign, chore in signs.items():
        if sign in text:
            return chore
    return None


_BEGINNING = re.compile(rb'"(?:\\n)*(?:' + b"|".join(map(re.escape, (*_SYSTEM_SIGNS, *_USER_SIGNS))) + b")")
"""A sign at the beginning of a JSON string. By the quote before it: looking for each sign anywhere costs ten times that
on a prompt that shares words with them."""


def _openclaw_chore(request: Request, envelope: Envelope) -> Housekeeping | None:
    """A wake or a flush lasts for as many steps as it calls tools: look back to the user message it began with."""
    messages: Sequence[bytes | msgspec.Raw] = envelope.messages or ()
    if envelope.messages is None and envelope.input is not None:
        recent = _tail(envelope.input, 65_536)  # a Responses input is one piece: building its list costs more
        if not any(sign in recent for sign in _OPENCLAW_SIGNS):
            return None
        messages = items(request)
    found = began_at(messages)
    return _sign(_head(messages[found], _HEAD), _OPENCLAW_SIGNS) if found is not None else None


def began_at(messages: Sequence[bytes | msgspec.Raw]) -> int | None:
    """Where the turn began that an OpenClaw request goes on with: its newest user message that is neither a tool's
    result nor the client's own context. Looks back over 64 messages at most."""
    for place in range(len(messages) - 1, max(len(messages) - 65, -1), -1):
        head = _head(messages[place], _HEAD)
        start = head[:80]
        if b'"assistant"' in start or b'"tool"' in start or b"tool_result" in start:
            continue
        if b"BEGIN_OPENCLAW_INTERNAL_CONTEXT" in head or b'"user"' not in _edges(messages[place]):
            continue
        return place
    return None


def _system_head(envelope: Envelope) -> bytes:
    """The beginning of the system prompt as raw JSON, b"" without one."""
    for raw in (envelope.system, envelope.instructions):
        if raw is not None and len(memoryview(raw)) > 4:
            return _head(raw, _HEAD)
    first: bytes | msgspec.Raw | None = envelope.messages[0] if envelope.messages else envelope.input
    if first is None:
        return b""
    head = _head(first, _HEAD)
    return head if _SYSTEM_ROLE.search(head, 0, _EDGE) or _SYSTEM_ROLE.search(_tail(first, _LAST_EDGE)) else b""


_SYSTEM_ROLE = re.compile(rb'"(?:system|developer)"')


def _last_head(envelope: Envelope) -> bytes:
    """The beginning of the newest message; of a Responses list, its last bytes."""
    if envelope.messages:
        last = envelope.messages[-1]
        head = _head(last, _HEAD)
        return head if head.find(b'"user"', 0, _EDGE) >= 0 or b'"user"' in _tail(last, _LAST_EDGE) else b""
    if envelope.input is not None:
        return _tail(envelope.input, 3000)
    return b""


def _edges(raw: bytes | msgspec.Raw) -> bytes:
    """Where a message's role stands, whichever way its keys are ordered."""
    view = memoryview(raw)
    return bytes(view[:_EDGE]) + bytes(view[-_LAST_EDGE:])


_EDGE, _LAST_EDGE = 60, 30


def _head(raw: bytes | msgspec.Raw, size: int) -> bytes:
    return bytes(memoryview(raw)[:size])


def _tail(raw: bytes | msgspec.Raw, size: int) -> bytes:
    return bytes(memoryview(raw)[-size:])
