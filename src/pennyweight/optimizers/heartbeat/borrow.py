"""A wake on the head that its session's ordinary calls have in the provider's cache.

The tools and instructions of the session stand first, byte for byte as last sent; how the wake's own differ from them
is said in one message right before the wake's: what is new verbatim, what is gone by how it began, and which tools
must not be called. A call to one of those never reaches the client: `backends.offered_tools` sees to that.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec

from ...call import Call
from ...prefix import marks_of, with_marks
from ...request import Request, Wire
from ...wire.offered import DISPATCHER, catalogue
from .marks import TTL_S, places, ttl_of, unmarked
from .pin import print_of
from .shape import Raws, Shape, joined, shape, texts

__all__ = ["Head", "behind", "changes", "head_of", "lends"]

_MOST_LINES = 3_000  # of instructions; comparing takes time
_MOST_GONE = 60  # lines: a wake whose instructions are mostly other ones is better off with its own
_NAMED_BY = 64  # characters that name a line which is gone
_any = msgspec.json.Decoder()


class Head(msgspec.Struct, frozen=True):
    """What a session's ordinary calls begin with, as last sent. `bound`: fields that cached messages hang on
    (`tool_choice`, `thinking`); `first`: prints of its first message as it came and as sent; `ttl_s`: how long its
    entries live, 0.0 without cache marks where the provider wants them. `at`: when it was last sent, unix seconds.

    `own_tools`, `own_system`: as the caller wrote them. `forms`: of messages that were sent in another form, by the
    prints of what the caller wrote; None: the conversation was sent with messages left out or put in."""

    tools: bytes
    system: bytes
    bound: bytes
    first: frozenset[bytes]
    ttl_s: float
    at: float
    own_tools: bytes
    own_system: bytes
    forms: dict[bytes, bytes] | None


def head_of(call: Call, last: Head | None) -> Head | None:
    """The head of an ordinary call of a session as it was sent; None where it has none that could be lent."""
    found = shape(call.request)
    if found is None or len(found.items) <= found.lead:
        return None
    came = shape(call.original) if call.rewritten else found
    if came is None or len(came.items) <= came.lead:
        return None
    tools, system = joined(found.tools), found.system
    own_tools, own_system = joined(came.tools), came.system
    if last is not None and last.tools == tools and last.system == system:
        tools, system = last.tools, last.system  # the same bytes once, not once per call
    own_tools = tools if own_tools == tools else own_tools
    own_system = system if own_system == system else own_system
    ttl_s = _IDLE_S
    if call.request.wire is Wire.ANTHROPIC_MESSAGES:
        ttls = {ttl_of(tools), ttl_of(system)} - {None}
        ttl_s = min((TTL_S[ttl] for ttl in ttls if ttl is not None), default=0.0)
    firsts = frozenset((print_of(came.items[came.lead]), print_of(found.items[found.lead])))
    forms = _forms(came, found)
    return Head(tools, system, _bound(call.request), firsts, ttl_s, call.at, own_tools, own_system, forms)


def _forms(came: Shape, sent: Shape) -> dict[bytes, bytes] | None:
    """Behind the instructions: what was sent in place of what came, marks aside."""
    if len(came.items) != len(sent.items) or came.lead != sent.lead:
        return None
    pairs = zip(came.items[came.lead :], sent.items[sent.lead :], strict=True)
    changed = ((a, b) for a, b in pairs if a is not b and bytes(a) != bytes(b))
    return {before: unmarked(bytes(b)) for a, b in changed if (before := print_of(a)) != print_of(b)}


_IDLE_S = 300.0
"""After how long unused an entry of an automatic prompt cache may be gone (platform.openai.com, "Prompt caching")."""


def _bound(request: Request) -> bytes:
    envelope = request.envelope
    return b"\0".join(b"" if raw is None else bytes(raw) for raw in (envelope.tool_choice, envelope.thinking))


def lends(head: Head, call: Call, found: Shape, sent: Raws) -> bool:
    """Whether the head is warm, and the wake's conversation the one behind it."""
    return (
        0 <= call.at - head.at < head.ttl_s
        and head.forms is not None
        and head.bound == _bound(call.request)
        and len(sent) > found.lead
        and print_of(sent[found.lead]) in head.first
    )


def behind(head: Head, found: Shape, sent: Raws, place: int, *, stays: bool, most_bytes: int) -> list[bytes] | None:
    """The items of a wake as they go behind that head; None where they cannot.

    place: of the wake's own message. stays: a later step of the wake will probably read what is written up to there.
    """
    text = changes(head, found.tools, found.system, most_bytes=most_bytes)
    assert head.forms is not None  # `lends` saw to that
    if not text or place <= found.lead:
        return None
    moved = [_as_sent(bytes(raw), head.forms) if at < place else bytes(raw) for at, raw in enumerate(sent)]
    if found.lead:
        moved[0] = head.system
    else:
        marks = _marks(head.tools) + _marks(head.system)
        own = places(moved, found.lead)
        if {ttl_of(moved[at]) for at in own} - {ttl_of(head.system) or ttl_of(head.tools)}:
            return None  # entries of one hour have to stand before those of five minutes
        before = _marked_end(moved[place - 1], head)
        if not stays and before is not None:
            moved = [*moved[:place], *map(unmarked, moved[place:])]
        if before is not None and marks + sum(map(_marks, moved)) < _MOST_MARKS and place - 1 not in own:
            moved[place - 1] = before
        if marks + sum(map(_marks, moved)) > _MOST_MARKS or not any(map(_marks, moved)):
            return None
    moved.insert(place, msgspec.json.encode({"role": "user", "content": text}))
    return moved


def _as_sent(raw: bytes, forms: Mapping[bytes, bytes]) -> bytes:
    """A message of the history as the session's calls were sent it, with the marks that it has now."""
    form = forms.get(print_of(raw)) if forms else None
    return with_marks(form, marks_of(raw)) if form is not None else raw


_MOST_MARKS = 4  # docs.claude.com, "Prompt caching"


def _marks(raw: bytes) -> int:
    """How many cache marks stand in raw JSON: within a text the quotes would be escaped."""
    return raw.count(b'"cache_control":')


def _marked_end(raw: bytes, head: Head) -> bytes | None:
    """The message with a mark of the head's on its last block; None where that cannot carry one."""
    mark = _last_mark(head.system) or _last_mark(head.tools)
    message: Any = _any.decode(raw)
    content = message.get("content") if isinstance(message, dict) else None
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) and content else content
    if mark is None or not isinstance(blocks, list) or not blocks or not isinstance(blocks[-1], dict):
        return None
    if blocks[-1].get("type") not in ("text", "tool_result", "tool_use", "image") or blocks[-1].get("text") == "":
        return None
    return msgspec.json.encode({**message, "content": [*blocks[:-1], {**blocks[-1], "cache_control": mark}]})


def _last_mark(raw: bytes) -> Any:
    value = _any.decode(raw)
    found = [item["cache_control"] for item in value if isinstance(item, dict) and item.get("cache_control")]
    return found[-1] if isinstance(value, list) and found else None


def changes(head: Head, tools: Raws, system: bytes, *, most_bytes: int = 24_000) -> str | None:
    """What a wake with these tools and instructions must be told behind that head; "" when they are the same.

    None where the wake needs what the head lacks: a tool, or one with other parameters; or where too much differs.
    """
    ours, theirs = texts(head.own_system), texts(system)
    if ours is None or theirs is None:
        return None
    described = _described(msgspec.json.decode(head.own_tools), [_any.decode(tool) for tool in tools])
    if described is None:
        return None
    withheld, new_descriptions = described
    before, after = "\n".join(ours), "\n".join(theirs)
    dispatched = sorted(catalogue(before) - catalogue(after))
    if catalogue(after) - catalogue(before):
        return None  # a tool that the session's instructions do not list
    lines = _compare(before.split("\n"), after.split("\n"), set(withheld) | set(dispatched))
    if lines is None:
        return None
    added, gone = lines
    parts = []
    if gone:
        parts.append("These lines of them, named by how they begin, do not apply:\n" + "\n".join(gone))
    if added:
        parts.append("These apply instead or as well:\n" + "\n".join(added))
    if withheld:
        parts.append("These tools are not available and must not be called: " + ", ".join(withheld))
    if dispatched:
        parts.append(f"These are not available through {DISPATCHER}: " + ", ".join(dispatched))
    if new_descriptions:
        parts.append("These tools are described so:\n" + "\n".join(new_descriptions))
    if not parts:
        return ""
    text = (
        f"<this-turn>\nFor this turn, the instructions above change as follows.\n\n{_blank.join(parts)}\n</this-turn>"
    )
    return text if len(text) <= most_bytes else None


_blank = "\n\n"


def _described(ours: Any, theirs: Any) -> tuple[list[str], list[str]] | None:
    """The names of our tools that they lack, and their descriptions where those are others. None: see `changes`."""
    known = {_name(tool): _bare(tool) for tool in ours}
    if len(known) != len(ours) or None in known:
        return None
    wanted: list[str] = []
    for tool in theirs:
        name, bare = _name(tool), _bare(tool)
        if name is None or name not in known:
            return None
        mine = known.pop(name)
        if mine == bare:
            continue
        (mine_says, mine_is), (says, takes) = _split(mine), _split(bare)
        if mine_is != takes or not isinstance(says, str):
            return None
        if mine_says != says:
            wanted.append(f"{name}: {says}")
    return [name for name in known if name is not None], wanted


def _name(tool: Any) -> str | None:
    """None for a tool without a name of its own: one that the provider runs has its type."""
    if not isinstance(tool, dict):
        return None
    inner = tool.get("function")
    name = tool.get("name") or (inner.get("name") if isinstance(inner, dict) else None) or tool.get("type")
    return name if isinstance(name, str) else None


def _bare(tool: Any) -> dict[str, Any]:
    return {key: value for key, value in tool.items() if key != "cache_control"}


def _split(tool: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """(description, all the rest)."""
    inner = tool.get("function")
    if isinstance(inner, dict):
        rest = {key: value for key, value in inner.items() if key != "description"}
        return inner.get("description"), {**tool, "function": rest}
    return tool.get("description"), {key: value for key, value in tool.items() if key != "description"}


def _compare(before: list[str], after: list[str], unavailable: set[str]) -> tuple[list[str], list[str]] | None:
    """Lines that are new, under their headings, and the beginnings of those that are gone. None: too much differs."""
    if max(len(before), len(after)) > _MOST_LINES:
        return None
    added: list[str] = []
    gone: list[str] = []
    heading = ""
    had, kept = set(before), set(after)  # a line that only moved is neither new nor gone
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, a, a_end, b, b_end in matcher.get_opcodes():
        if kind == "equal":
            continue
        lost = (line for line in before[a:a_end] if line.strip() and line not in kept)
        gone += [_beginning(line) for line in lost if not _lists(line, unavailable)]
        new = after[b:b_end]
        if not any(line.strip() and line not in had for line in new):
            continue
        above = next((line for line in reversed(after[:b]) if line.startswith("#")), "")
        if above != heading and not new[0].startswith("#"):
            added.append(above)
        added += new
        heading = next((line for line in reversed(new) if line.startswith("#")), above)
    return (added, gone) if len(gone) <= min(_MOST_GONE, len(before) // 2) else None


def _lists(line: str, tools: set[str]) -> bool:
    """Whether a line does no more than list one of these tools: "- name (plugin): …" or "- name: …"."""
    name = line.removeprefix("- ").partition(":")[0].partition(" ")[0]
    return line.startswith("- ") and name in tools


def _beginning(line: str) -> str:
    return line if len(line) <= _NAMED_BY else line[:_NAMED_BY] + "…"
