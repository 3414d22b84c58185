"""A history under a budget: what each part may become, what is chosen, and the edits that make it so. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from ...request import DELETE, Edit, Request
from ...text.compression import Ask
from ...text.compression.repeats import leans
from ...text.context import LEVELS, RETAINED, Form, Level, plan, value
from ...text.relevance import score
from ...wire.blocks import Block
from .forms import Count, Shape, shapes, unfolded
from .history import History, Part

__all__ = ["Compaction", "Rules", "compaction", "leans"]

_READ_CHARS = 1_500  # of a message, from each end, in which its relevance is looked for


class Rules(msgspec.Struct, frozen=True):
    """name: the reference of a text. reversible: it can be had back by it. lossy: something may be missing. drop: what
    may be left out whole: "spent" (small talk, obsolete), or "any" result and thought where the budget wants it.
    summaries: made ahead, by reference. originals: of texts that stand in a shorter form already; one of those that
    names another result for what it does not repeat is sent in full, or in a form of its own, once anything changes.
    """

    count: Count
    name: Callable[[str], str]
    reversible: bool = True
    lossy: bool = True
    drop: str = "spent"
    summaries: Mapping[str, str] = {}
    originals: Mapping[str, str] = {}


class Compaction(msgspec.Struct, frozen=True):
    """`levels`: of each message. `references`: the whole texts of what is missing, by their names. tokens: of all
    texts of the conversation. used: references that are summarised. sources: by the texts that were put in, those
    that they stand for."""

    edits: tuple[Edit, ...]
    levels: tuple[Level, ...]
    references: Mapping[str, str]
    tokens_before: int
    tokens_after: int
    used: tuple[str, ...] = ()
    sources: Mapping[str, str] = {}

    def counts(self) -> dict[Level, int]:
        """How many messages are sent in each form."""
        found = Counter(self.levels)
        return {level: found[level] for level in LEVELS if found[level]}


class _Piece(msgspec.Struct, frozen=True):
    """One text that may change, with its forms."""

    message: int
    block: Block
    source: str
    reference: str
    tokens: int
    shapes: tuple[Shape, ...]


def compaction(request: Request, history: History, budget_tokens: int, rules: Rules) -> Compaction:
    """The forms under which most of the history's value fits into the budget, as edits of the request.

    budget_tokens: for the texts of the conversation, instructions beside it apart. It may not be reached: what must
    stay stays.
    """
    count = rules.count
    messages = history.conversation.messages
    total = sum(count(block.text) for message in messages for block in message.blocks)
    untouched: list[Level] = ["verbatim"] * len(messages)
    same = Compaction((), tuple(untouched), {}, total, total)
    if total <= budget_tokens:
        return same
    sizes = [sum(count(_whole(block, rules)) for block in message.blocks) for message in messages]
    near = _relevance(history)
    pieces: list[tuple[_Piece, ...]] = []
    forms: list[tuple[Form, ...]] = []
    for part in history.parts:
        whole = sum(sizes[at] for at in part.messages)
        worth = max(value(history.kinds[at], relevance=near[at], age=part.age) for at in part.messages)
        own = () if part.firm else _pieces(history, part, rules)
        pieces.append(own)
        forms.append(tuple(_forms(part, own, whole, worth, rules)))
    chosen = plan(forms, budget_tokens)
    levels = [part[at].level for part, at in zip(forms, chosen.chosen, strict=True)]
    made = _made(history, pieces, levels, sizes, rules)
    return msgspec.structs.replace(made, tokens_before=total) if made.tokens_after < total else same


def _whole(block: Block, rules: Rules) -> str:
    """The text to send of a block that keeps its words: the original of one that leans on other results."""
    return rules.originals.get(block.text, block.text) if leans(block.text) else block.text


def _forms(part: Part, pieces: Sequence[_Piece], whole: int, worth: float, rules: Rules) -> list[Form]:
    """What a part may become, as it is first."""
    found = [Form("verbatim", whole, worth)]
    if part.firm:
        return found
    for level in LEVELS[1:-1]:
        saved = sum(piece.tokens - shape.tokens for piece in pieces if (shape := _at(piece, level)) is not None)
        if saved > 0 and whole - saved < found[-1].tokens:
            lossless = level == "compressed" and all(shape.lossless for p in pieces for shape in p.shapes[:1])
            kept = 0.999 if lossless else RETAINED[level]
            found.append(Form(level, whole - saved, worth * kept))
    gone = part.kind in ("confirmation", "obsolete") or rules.drop == "any"
    if gone and not part.stays:
        found.append(Form("dropped", 0, 0.0))
    return found


def _at(piece: _Piece, level: Level) -> Shape | None:
    """The form of a piece at a level: the shortest that is no further down."""
    found = [shape for shape in piece.shapes if LEVELS.index(shape.level) <= LEVELS.index(level)]
    return found[-1] if found else None


def _pieces(history: History, part: Part, rules: Rules) -> tuple[_Piece, ...]:
    """The texts of a part that may change: results, and what the agent thinks aloud on its way to them."""
    conversation = history.conversation
    found = []
    for at in part.messages:
        kind = history.kinds[at]
        message = conversation.messages[at]
        for block in message.blocks:
            text = block.kind == "text" and (kind == "reasoning" or (kind in ("tool_output", "obsolete")))
            if block.place is None or not (block.kind == "result" or text):
                continue
            if text and message.role == "user" and kind != "tool_output":
                continue
            call = conversation.call_of(block) if block.kind == "result" else None
            ask = Ask(history.query, call.text if call is not None else "")
            source = rules.originals.get(block.text) or unfolded(block.text)
            sent = _whole(block, rules)
            name = rules.name(source)
            own = shapes(
                source,
                count=rules.count,
                ask=ask,
                reference=name,
                reversible=rules.reversible,
                lossy=rules.lossy or part.kind == "obsolete",
                summary=rules.summaries.get(name, ""),
                instead_of=sent,
                again=block.text in rules.originals,
            )
            if own:
                found.append(_Piece(at, block, source, name, rules.count(sent), tuple(own)))
    return tuple(found)


def _made(
    history: History,
    pieces: Sequence[Sequence[_Piece]],
    chosen: Sequence[Level],
    sizes: Sequence[int],
    rules: Rules,
) -> Compaction:
    messages = history.conversation.messages
    levels: list[Level] = ["verbatim"] * len(messages)
    references: dict[str, str] = {}
    after = list(sizes)
    edits: list[Edit] = []
    dropped: list[int] = []
    used: list[str] = []
    sources: dict[str, str] = {}
    for part, own, level in zip(history.parts, pieces, chosen, strict=True):
        if level == "dropped":
            for at in part.messages:
                levels[at], after[at] = "dropped", 0
                dropped.append(at)
                if said := messages[at].text:
                    references[rules.name(said)] = said
            continue
        for piece in own if level != "verbatim" else ():
            shape = _at(piece, level)
            if shape is None:
                continue
            edits.append(Edit(history.conversation.place(piece.message, piece.block), shape.text))
            after[piece.message] += shape.tokens - piece.tokens
            levels[piece.message] = max(levels[piece.message], shape.level, key=LEVELS.index)
            if not shape.lossless:
                references[piece.reference] = piece.source
            sources[shape.text] = piece.source
            if shape.level == "summarised":
                used.append(piece.reference)
    changed = {edit.path for edit in edits}
    for at, message in enumerate(messages):
        for block in message.blocks:
            if leans(block.text) and block.place is not None and levels[at] != "dropped":
                place = history.conversation.place(at, block)
                if place not in changed and (whole := _whole(block, rules)) is not block.text:
                    edits.append(Edit(place, whole))
    edits += [Edit((history.conversation.root, at), DELETE) for at in sorted(dropped, reverse=True)]
    return Compaction(tuple(edits), tuple(levels), references, sum(sizes), sum(after), tuple(used), sources)


def _relevance(history: History) -> list[float]:
    """Of each message to what the work is about now, in [0, 1]."""
    texts = [_ends(message.text) for message in history.conversation.messages]
    return score(texts, history.query, shape="talk")


def _ends(text: str) -> str:
    return text if len(text) <= 2 * _READ_CHARS else f"{text[:_READ_CHARS]}\n{text[-_READ_CHARS:]}"
