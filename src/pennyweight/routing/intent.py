"""What a human last asked for, found in a request of any size: history, tool results, schemas and what clients put in
are passed over. From the end back, and only as far as needed.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence

import msgspec
from xxhash import xxh3_64_intdigest

from ..errors import BadRequest
from ..prefix import items
from ..request import Request

__all__ = ["TEXT_CHARS", "Intent", "Intents", "is_follow_up"]

TEXT_CHARS = 4_000
"""Of a longer text the first two thirds and the end are kept: what is asked stands before or after what is pasted."""

_LOOK_BACK = 512  # items: a tool loop of some 250 calls
_SMALL_BYTES = 2_048  # what is cheaper to read again than to look up


class Intent(msgspec.Struct, frozen=True):
    """`text`: the newest substantive text of a human, "" without one. `newest`: the newest one, which may be "yes".

    follow_ups: how many texts such as "yes" or "commit it" came after `text`. loop: tool calls were made since a human
    spoke. images: pictures came with the newest turn. chars: the newest turn's own length before it was cut.
    """

    text: str = ""
    newest: str = ""
    follow_ups: int = 0
    loop: bool = False
    images: bool = False
    chars: int = 0


class _Said(msgspec.Struct, frozen=True):
    """What one item of a conversation is. kind: h(uman), t(ool traffic), a(ssistant) or n(one of these)."""

    kind: str
    text: str = ""
    images: bool = False
    chars: int = 0


class Intents:
    """Finds intents, and remembers what the larger items of conversations were by a hash of their bytes."""

    def __init__(self, *, items: int = 4_096) -> None:
        self._limit = items
        self._known: OrderedDict[tuple[int, int], _Said] = OrderedDict()

    def of(self, request: Request) -> Intent:
        """Never raises: of a body that cannot be read nothing is known."""
        try:
            found = items(request)
            envelope = request.envelope
        except (BadRequest, msgspec.DecodeError):
            return Intent()
        if not found and envelope.messages is None:
            return _prompt(request)
        return self._from(found)

    def _from(self, found: Sequence[bytes | msgspec.Raw]) -> Intent:
        newest, follow_ups, loop, images, chars = "", 0, False, False, 0
        spoken = answered = False
        for place in range(len(found) - 1, max(len(found) - 1 - _LOOK_BACK, -1), -1):
            said = self._said(found[place])
            if said.kind == "t":
                loop = loop or not spoken
                images = images or (said.images and not spoken)
            elif said.kind == "a":
                answered = spoken
            elif said.kind == "h":
                images = images or (said.images and not answered)
                if not said.text:
                    continue
                if not spoken:
                    spoken, newest, chars = True, said.text, said.chars
                if not is_follow_up(said.text):
                    return Intent(said.text, newest, follow_ups, loop, images, chars)
                follow_ups += 1
        return Intent("", newest, follow_ups, loop, images, chars)

    def _said(self, raw: bytes | msgspec.Raw) -> _Said:
        view = memoryview(raw)
        if len(view) <= _SMALL_BYTES:
            return _read(raw)
        key = (xxh3_64_intdigest(view), len(view))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _read(raw)
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
        return known


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None


class _Item(msgspec.Struct):
    role: str | None = None
    type: str | None = None
    content: str | list[_Part | str] | None = None
    tool_calls: msgspec.Raw | None = None
    images: msgspec.Raw | None = None


class _Head(msgspec.Struct):
    role: str | None = None
    type: str | None = None


_item = msgspec.json.Decoder(_Item)
_head = msgspec.json.Decoder(_Head)
_string = msgspec.json.Decoder(str)
_FAST = re.compile(
    rb'\{"(?:role": ?"(assistant|model|tool|function|system|developer)"|type": ?"(function_call|custom_tool|reasoning))'
)


def _read(raw: bytes | msgspec.Raw) -> _Said:
    view = memoryview(raw)
    start = _FAST.match(bytes(view[:48]))
    if start is not None and (start[2] or start[1] != b"assistant"):
        if start[2]:
            return _Said("n" if start[2] == b"reasoning" else "t")
        return _Said("t" if start[1] in (b"tool", b"function") else "a" if start[1] == b"model" else "n")
    try:
        if bytes(view[:1]) == b'"':
            return _human([_string.decode(raw)], images=False)
        if start is not None:  # an assistant's turn: whether it calls tools is all that matters
            calls = b'"tool_calls":' in bytes(view) or b'"tool_use"' in bytes(view)
            return _Said("t" if calls else "a")
        item = _item.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Said("n")
    return _classed(item)


def _classed(item: _Item) -> _Said:
    match item.role:
        case "assistant" | "model":
            return _Said("t" if item.tool_calls is not None else "a")
        case "tool" | "function":
            return _Said("t")
        case "system" | "developer":
            return _Said("n")
        case None if item.type not in (None, "message"):
            return _Said("n" if item.type == "reasoning" else "t")
    parts = [item.content] if isinstance(item.content, str) else item.content or []
    texts = [part if isinstance(part, str) else part.text or "" for part in parts if _is_text(part)]
    kinds = [part.type or "" for part in parts if not isinstance(part, str)]
    images = item.images is not None or any("image" in kind for kind in kinds)
    said = _human(texts, images=images)
    if "tool_result" in kinds and not said.text:
        return _Said("t", images=images)
    return said


def _is_text(part: _Part | str) -> bool:
    return isinstance(part, str) or part.type in ("text", "input_text", None)


def _human(texts: Sequence[str], *, images: bool) -> _Said:
    said = "\n".join(text for text in map(_own, texts) if text)
    return _Said("h", _cut(said), images, len(said))


def _prompt(request: Request) -> Intent:
    """Of Ollama's /api/generate and of completions, whose prompt is a text."""
    try:
        prompt = request.body.get("prompt")
        images = bool(request.body.get("images"))
    except BadRequest:
        return Intent()
    said = _human([prompt], images=images) if isinstance(prompt, str) else _Said("h")
    return Intent(said.text, said.text, 0, loop=False, images=images, chars=said.chars)


def _cut(text: str) -> str:
    if len(text) <= TEXT_CHARS:
        return text
    head = TEXT_CHARS * 2 // 3
    return f"{text[:head]}\n{text[head - TEXT_CHARS :]}"


# --- what clients put into a human's turn --------------------------------------------------------------------

_TAGGED = re.compile(
    r"<(system-reminder|system_reminder|environment_context|environment_details|user_instructions|INSTRUCTIONS|"
    r"local-command-stdout|local-command-stderr|local-command-caveat|command-message|ide_opened_file|ide_selection|"
    r"additional_data|context|open_and_recently_viewed_files|user_info|permissions instructions|"
    r"collaboration_mode|skills_instructions)\b[^>]*>.*?</\1>",
    re.DOTALL,
)
_OPENCLAW = re.compile(r"<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>.*?(?:<<<END_OPENCLAW_INTERNAL_CONTEXT>>>|\Z)", re.DOTALL)
_STAMP = re.compile(r"\A\s*\[[A-Z][a-z]{2} \d{4}-\d\d-\d\d[^\]]{0,24}\]\s*")
_RUNTIME = re.compile(r"^Runtime: agent=.*$", re.MULTILINE)
_AIDER_RULES = "\n# *SEARCH/REPLACE block* Rules:"
_NOT_ASKED = (
    "Here are summaries of some files present in my git repository",  # aider
    "I have *added these files to the chat*",
    "I switched to a new code base. Please don't consider the above files",
    "# AGENTS.md instructions for ",  # Codex
    "[OpenClaw heartbeat poll]",
    "The conversation history before this point was compacted into",
    "This session is being continued from a previous conversation",  # Claude Code
    "Caveat: The messages below were generated by the user while running local commands",
    "[Request interrupted by user",
)


def _own(text: str) -> str:
    """The part of a text that a human wrote."""
    if "<" in text[:_LONGEST_HEAD] or "</" in text[-64:]:
        if "<<<BEGIN_OPENCLAW" in text:
            text = _OPENCLAW.sub("", text)
        if "</" in text and len(text) <= _LONGEST_TAGGED:
            text = _TAGGED.sub("", text)
    if text.startswith("[") or text[:1].isspace():
        text = _STAMP.sub("", text, count=1)
    if "Runtime: agent=" in text:
        text = _RUNTIME.sub("", text)
    if (rules := text.find(_AIDER_RULES)) >= 0:
        text = text[:rules]
    text = text.strip()
    return "" if text.startswith(_NOT_ASKED) else text


_LONGEST_HEAD, _LONGEST_TAGGED = 2_000, 262_144  # characters: going over megabytes for tags costs milliseconds

# --- follow-ups ------------------------------------------------------------------------------------------------


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?", re.UNICODE)
_FOLLOWS = _set(
    "yes yeah yep yup y ok okay k sure fine good great perfect nice cool thanks thank thx cheers no nope n nah "
    "continue proceed go carry keep next again retry redo resume done lgtm ship merge commit push approve approved "
    "accept confirm confirmed correct right exactly agreed alright absolutely please both first second third "
    "former latter all none neither option stop wait undo revert "
    "ja nein gerne weiter bitte danke genau mach oui non merci continuez vas si sí vale gracias claro sigue sim não "
    "obrigado tak nie dalej да нет давай продолжай спасибо ок хорошо "
    "是 是的 好 好的 对 继续 可以 谢谢 嗯 はい いいえ お願いします 続けて ok"
)
_POINTING = _set("it that this them those these one ones ahead so same there everything es das dies lo la eso")
_SMALL = _set(
    "the a an to for now then and but do did does i i'd i'll we you your my me us is was of in with as well please "
    "on still just too also very much let let's lets try run make can could would should be really work works worked "
    "working broke broken fail fails failed wrong"
)
_ASKING = _set("what who whom whose when where why which how was wer wie qué quoi что")
_MOST_WORDS = 9


def is_follow_up(text: str) -> bool:
    """Whether a text only makes sense after what was said before it: "yes", "commit it", "no, that broke the build"."""
    if len(text) > 80 or "```" in text:
        return False
    words = [word.lower() for word in _WORD.findall(text)]
    if not words:
        return 0 < len(text) <= 3  # "1", "👍"
    if len(words) > _MOST_WORDS:
        return False
    if words[0] not in _FOLLOWS:
        # "do it", "run that again", "fix them": nothing but small words and something pointed at
        rest = [word for word in words[1:] if word not in _SMALL and word not in _POINTING and word not in _FOLLOWS]
        asks = words[0] in _ASKING
        return len(words) <= 5 and not rest and not asks and not _POINTING.isdisjoint(words)
    rest = [word for word in words[1:] if word not in _SMALL and word not in _POINTING and word not in _FOLLOWS]
    pointing = not _POINTING.isdisjoint(words)
    return len(rest) <= (1 if pointing else 0)
