"""One template with the answers that were given to it: what they prove, and the answer to a new one of its kind.

An answer serves another value only when: the template is equal; every changed value stands in the answer word for
word; the same exchange of values has turned one stored answer exactly into another; and nothing in the answer looks
reckoned. One answer that is not as foretold closes the template.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import msgspec

from .doubts import as_number, derived, features, marks, places, rest_of, unexplained
from .filling import Doubt, Swap, fill
from .slots import Masked

__all__ = ["MOST_EXAMPLES", "Branch", "Example", "Family", "Proof", "branch", "foresee", "learn"]

MOST_EXAMPLES = 6
"""Answers kept of one template; further ones take the place of the oldest."""


class Example(msgspec.Struct, frozen=True, array_like=True):
    """One question of the template with its answer. `source`: the caller's name for it, kept beside."""

    values: tuple[str, ...]
    answer: str
    source: str = ""


class Proof(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one slot. Its value is `before`, what is exchanged, `after`; `shown`: answers foretold rightly.

    seen: for each of `doubts.features` the outcomes among the values that were exchanged. low, high: of their numbers.
    """

    before: str
    after: str
    shown: int
    seen: tuple[frozenset[str], ...] = ()
    low: float = math.inf
    high: float = -math.inf


class Family(msgspec.Struct, frozen=True, array_like=True):
    """`closed`: why it serves no more; "" while it does."""

    examples: tuple[Example, ...] = ()
    proofs: Mapping[int, Proof] = {}
    closed: str = ""
    shown: int = 0


class Branch(msgspec.Struct, frozen=True):
    """The answer for a new value: `text`, made from the example `leader` that was exchanged by `swaps`."""

    text: str
    leader: Example
    swaps: tuple[Swap, ...]
    shown: int  # answers that were foretold rightly, of the slot with the fewest


class Reckoned(Doubt):
    """Something in an answer looks made from the value: then no answer of that template is for others."""


def branch(family: Family, question: Masked, *, witnesses: int = 1, doubtful: int = 4) -> Branch | str:
    """The answer to a question of this family's template, or why there is none.

    witnesses: how many answers must have been foretold rightly for every slot that changes, at least 1; doubtful: how
    many when the answer has numbers or telling words that the question has not.
    """
    if family.closed:
        return family.closed
    found: Branch | None = None
    why = "no answer to this template"
    for example in reversed(family.examples):
        try:
            made = _branched(family, example, question, max(witnesses, 1), doubtful)
        except Reckoned as doubt:
            return str(doubt)
        except Doubt as doubt:
            why = str(doubt)
            continue
        if found is not None and found.text != made.text:
            return "two answers that differ"
        found = found or made
    return found or why


def foresee(family: Family, leader: Masked, question: Masked, *, doubtful: int = 4) -> tuple[Swap, ...] | str:
    """What to exchange in the leader's answer while it is still on its way, or why one cannot say yet.

    Nobody has seen that answer, so the template must be known as well as for the most doubtful one.
    """
    if family.closed:
        return family.closed
    changed = _changed(Example(leader.values, ""), question)
    if not changed or any(slot not in family.proofs or family.proofs[slot].shown < doubtful for slot in changed):
        return "too few answers have shown it"
    proofs = {slot: family.proofs[slot] for slot in changed}
    try:
        swaps = tuple(
            Swap(_core(leader.values[slot], proof), _core(question.values[slot], proof))
            for slot, proof in proofs.items()
        )
        others = [question.values[i] for i in range(len(question.values)) if i not in proofs]
        _check_values(swaps, _literal(question, changed, proofs), others)
    except Doubt as doubt:
        return str(doubt)
    if not all(_covered(proof, swap.new) for proof, swap in zip(proofs.values(), swaps, strict=True)):
        return "a value unlike those that were shown"
    return swaps


def learn(family: Family, question: Masked, answer: str, source: str = "") -> Family:
    """The family with one more answer that the model itself gave to a question of this template."""
    if family.closed:
        return family
    proofs = dict(family.proofs)
    new = Example(question.values, answer, source)
    shown: set[int] = set()
    for old in family.examples:
        changed = _changed(old, new)
        if not changed:
            if old.answer != answer:
                return _closed(family, "two answers to one question")
            continue
        told = _foretold(question, old, new, changed)
        if told is None:
            continue
        if not told:
            return _closed(family, "an answer that was not as foretold")
        for slot, (before, after) in told.items():
            _prove(proofs, slot, before, after, old.values[slot], new.values[slot], counts=slot not in shown)
            shown.add(slot)
    kept = [old for old in family.examples if old.values != new.values][-(MOST_EXAMPLES - 1) :]
    return Family((*kept, new), proofs, "", family.shown + bool(shown))


def _branched(family: Family, example: Example, question: Masked, witnesses: int, doubtful: int) -> Branch:
    changed = _changed(example, question)
    if not changed:
        raise Doubt("the same values")
    for slot in changed:
        if slot not in family.proofs:
            raise Doubt("a slot that no two answers have shown")
    proofs = {slot: family.proofs[slot] for slot in changed}
    swaps = tuple(
        Swap(_core(example.values[slot], proof), _core(question.values[slot], proof)) for slot, proof in proofs.items()
    )
    shown = min(proof.shown for proof in proofs.values())
    if shown < witnesses:
        raise Doubt("too few answers have shown it")
    prompt = _literal(question, changed, proofs)
    _check_values(swaps, prompt, [question.values[i] for i in range(len(question.values)) if i not in proofs])
    text = fill(example.answer, swaps)
    if _doubtful(example.answer, swaps, prompt):
        if shown < doubtful:
            raise Doubt("numbers or telling words in the answer that the question has not")
        for slot, swap in zip(proofs, swaps, strict=True):
            if not _covered(proofs[slot], swap.new):
                raise Doubt("a value unlike those that were shown")
    return Branch(text, example, swaps, shown)


def _foretold(
    question: Masked, old: Example, new: Example, changed: Sequence[int]
) -> Mapping[int, tuple[str, str]] | None:
    """What stays at both ends of each changed value if exchanging the rest turns each answer into the other.

    Empty: it does not. None: nobody can say, as a value does not stand in its answer, or is in doubt.
    """
    judged = False
    for ends in (dict.fromkeys(changed, ("", "")), {slot: _ends(old, new, slot) for slot in changed}):
        proofs = {slot: Proof(before, after, 0) for slot, (before, after) in ends.items()}
        try:
            there = [Swap(_core(old.values[s], p), _core(new.values[s], p)) for s, p in proofs.items()]
            back = [Swap(swap.new, swap.old) for swap in there]
            prompt = _literal(question, changed, proofs)
            others = [old.values[i] for i in range(len(old.values)) if i not in proofs]
            _check_values(there, prompt, others)
            _check_values(back, prompt, others)
            judged = fill(old.answer, there) != new.answer or fill(new.answer, back) != old.answer or judged
            if judged:
                continue
            _doubtful(old.answer, there, prompt)
            _doubtful(new.answer, back, prompt)
        except Doubt:
            continue
        return ends
    return {} if judged else None


def _check_values(swaps: Sequence[Swap], prompt: str, others: Sequence[str]) -> None:
    """Raises Doubt for values that cannot be told from the rest of the question, or from each other."""
    words = marks(prompt)
    for position, swap in enumerate(swaps):
        for value in (swap.old, swap.new):
            if len(value) < 2 and not value.isdigit():
                raise Doubt("a value too short")
            if value in words or (value in prompt and _within(value, prompt)):
                raise Doubt("a value that the template has too")
            if any(_within(value, other) or _within(other, value) for other in others):
                raise Doubt("a value that another slot has too")
        for other in swaps[:position]:
            if any(_within(a, b) or _within(b, a) for a, b in ((swap.old, other.old), (swap.new, other.new))):
                raise Doubt("two slots of one value")
            if other.new == swap.old and other.old == swap.new:
                raise Reckoned("two slots that change places")


def _within(value: str, text: str) -> bool:
    """Whether the value stands in the text by itself."""
    return bool(places(value, text))


def _doubtful(answer: str, swaps: Sequence[Swap], prompt: str) -> bool:
    """Whether more examples are needed. Raises Doubt where something in the answer looks made from a value."""
    rest = rest_of(answer, [swap.old for swap in swaps])
    known = marks(prompt)
    if any(derived(swap.old, rest, known) for swap in swaps):
        raise Reckoned("something that may be made from a value")
    twice = any(_equal_to_a_form(swap.old) and len(places(swap.old, answer)) > 1 for swap in swaps)
    return twice or unexplained(rest, known)


def _equal_to_a_form(value: str) -> bool:
    """A digit that stands twice may be a sum or a count the second time, and 555 may be the same read backwards."""
    return len(value) < 3 or value == value[::-1]


def _covered(proof: Proof, value: str) -> bool:
    """Whether each feature of the value is that of a value shown, or has been shown not to matter.

    A number must lie between those shown: nobody knows what is beyond.
    """
    number = as_number(value)
    if number is not None and not proof.low <= number <= proof.high:
        return False
    return all(new in seen or len(seen) > 1 for new, seen in zip(features(value), proof.seen, strict=True))


def _prove(proofs: dict[int, Proof], slot: int, before: str, after: str, old: str, new: str, *, counts: bool) -> None:
    known = proofs.get(slot)
    if known is not None and (known.before, known.after) != (before, after):
        if len(before) + len(after) >= len(known.before) + len(known.after):
            return  # what is known already says more
        known = None
    known = known or Proof(before, after, 0)
    cores = (_core(old, known), _core(new, known))
    before_seen = known.seen or tuple(frozenset[str]() for _ in features(cores[0]))
    seen = tuple(
        past if len(past) > 3 else past | {a, b}  # four outcomes show as much as more of them
        for past, a, b in zip(before_seen, *map(features, cores), strict=True)
    )
    numbers = [number for core in cores if (number := as_number(core)) is not None]
    low, high = min(numbers, default=math.inf), max(numbers, default=-math.inf)
    proofs[slot] = Proof(
        known.before, known.after, known.shown + counts, seen, min(known.low, low), max(known.high, high)
    )


def _closed(family: Family, why: str) -> Family:
    return Family((), {}, why, family.shown)


def _changed(old: Example, new: Example | Masked) -> list[int]:
    return [slot for slot, pair in enumerate(zip(old.values, new.values, strict=True)) if pair[0] != pair[1]]


def _core(value: str, proof: Proof) -> str:
    """What of the value is exchanged. Raises Doubt when it does not have the ends that all others have."""
    ends = len(proof.before) + len(proof.after)
    if len(value) <= ends or not value.startswith(proof.before) or not value.endswith(proof.after):
        raise Doubt("a value of another shape")
    return value[len(proof.before) : len(value) - len(proof.after)]


def _literal(question: Masked, changed: Sequence[int], proofs: Mapping[int, Proof]) -> str:
    """The question without what is exchanged."""
    pieces = [question.literals[0]]
    for slot, value in enumerate(question.values):
        proof = proofs.get(slot)
        pieces += [value if proof is None else f"{proof.before}\0{proof.after}", question.literals[slot + 1]]
    return "".join(pieces)


_PIECE = re.compile(r"\s+|[^\s\w]|\w+")


def _ends(old: Example, new: Example, slot: int) -> tuple[str, str]:
    """The words that two values begin with, and those that they end with. At least one word is left of each."""
    a, b = _PIECE.findall(old.values[slot]), _PIECE.findall(new.values[slot])
    most = min(len(a), len(b)) - 1
    first = 0
    while first < most and a[first] == b[first]:
        first += 1
    last = 0
    while last < most - first and a[-1 - last] == b[-1 - last]:
        last += 1
    return "".join(a[:first]), "".join(a[len(a) - last :])
