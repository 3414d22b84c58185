"""Changes to JSON that leave the bytes of what they do not name as they are.

Two ways, with one result. `splice_all` reads the containers on the way to a change and writes them anew. `splice_known`
is for bodies whose long members were read before: it finds where they stand by their own bytes, and joins the old
pieces and the new ones once, so that a mark in a body of 650 kB costs a copy of it and no reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from .errors import BadRequest

__all__ = [
    "DELETE",
    "Changes",
    "Known",
    "Layout",
    "Told",
    "append",
    "grown",
    "laid_out",
    "splice",
    "splice_all",
    "splice_known",
]

DELETE: Any = msgspec.UNSET
"""As the value of a change: remove the member or list item."""

Changes = list[tuple[Sequence[str | int], Any]]
"""(path, value): keys and list indices from the root, and what is put there."""

Known = Mapping[str, msgspec.Raw | Sequence[msgspec.Raw]]
"""Members of an object as they were read from its bytes: whole, or a list's items."""

Told = dict[str, msgspec.Raw | list[msgspec.Raw]]
"""The members that were changed or added, as they are now; of a list whose items were changed, the items."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])


def splice(raw: bytes, path: Sequence[str | int], value: Any) -> bytes:
    """`raw` JSON with `value` put at `path`; members beside the path keep their bytes (white space between may go).

    Raises BadRequest when the path leads through something that is no object or list, or past a list's end.
    """
    return splice_all(raw, [(path, value)])


def splice_all(raw: bytes, changes: Changes) -> bytes:
    """The changes in order. A container on the way is read and written once for all that follow each other in it; white
    space between its members may go.

    Raises BadRequest when a path leads through something that is no object or list, or past a list's end.
    """
    at = 0
    while at < len(changes):
        path, value = changes[at]
        if not path:
            raw = _written(value)
            at += 1
            continue
        end = at + 1
        while end < len(changes) and changes[end][0] and type(changes[end][0][0]) is type(path[0]):
            end += 1
        try:
            raw = (_splice_object if isinstance(path[0], str) else _splice_list)(raw, changes[at:end])
        except msgspec.DecodeError as error:
            raise BadRequest(f"No place {list(path)!r} in the body: {error}.") from None
        at = end
    return raw


def _written(value: Any) -> bytes:
    # Joined by hand: the encoder's buffer grows and is copied as it goes, 1 ms for half a megabyte against 0.05.
    if isinstance(value, msgspec.Raw):
        return bytes(value)
    if isinstance(value, list) and value and all(isinstance(item, msgspec.Raw) for item in value):
        return b"".join((b"[", b",".join(value), b"]"))
    return msgspec.json.encode(value)


def _splice_object(raw: bytes, changes: Changes) -> bytes:
    members: dict[str, Any] = dict(_object.decode(raw))
    for key, below in _by_step(changes):
        waiting: Changes = []
        for change in below:
            if not change[0] and change[1] is DELETE:
                if waiting:
                    splice_all(bytes(members.get(key, b"{}")), waiting)  # for its errors: what comes of it goes at once
                members.pop(key, None)
                waiting = []
            else:
                waiting.append(change)
        if waiting:
            members[key] = msgspec.Raw(splice_all(bytes(members.get(key, b"{}")), waiting))
    pieces: list[Any] = []
    for key, member in members.items():
        pieces += (b",", msgspec.json.encode(key), b":", member)
    return b"".join((b"{", *pieces[1:], b"}"))


def _splice_list(raw: bytes, changes: Changes) -> bytes:
    items: list[Any] = list(_array.decode(raw))
    for key, below in _by_step(changes):
        waiting: Changes = []
        for change in below:
            if not change[0] and change[1] is DELETE:
                _put(items, key, waiting)
                waiting = []
                if not 0 <= key < len(items):
                    raise BadRequest(f"No item {key} in a list of {len(items)}.")
                del items[key]
            else:
                waiting.append(change)
        _put(items, key, waiting)
    return b"".join((b"[", b",".join(items), b"]"))


def _put(items: list[Any], key: int, changes: Changes) -> None:
    if not changes:
        return
    if not 0 <= key <= len(items):
        raise BadRequest(f"No item {key} in a list of {len(items)}.")
    if key == len(items):
        items.append(msgspec.Raw(splice_all(b"{}", changes)))
    else:
        items[key] = msgspec.Raw(splice_all(bytes(items[key]), changes))


def _by_step(changes: Changes) -> Iterator[tuple[Any, Changes]]:
    """(first step, what lies below it) for the changes that follow each other and begin with the same step."""
    for step, run in groupby(changes, key=lambda change: change[0][0]):
        yield step, [(path[1:], value) for path, value in run]


# --- without reading ----------------------------------------------------------------------------------------


def append(raw: bytes, members: Mapping[str, Any]) -> tuple[bytes, Told]:
    """An object, known to be one, with members at its end that it is known not to have."""
    told: Told = {key: msgspec.Raw(_written(value)) for key, value in members.items()}
    return _joined(raw, [], told, len(raw.rstrip(_SPACE)) - 1), told


def splice_known(raw: bytes, known: Known, changes: Changes, layout: Layout | None = None) -> tuple[bytes, Told] | None:
    """What `splice_all` makes of an object, with its white space; None where it takes reading after all.

    known: members that were read from these very bytes. layout: where they stand, if somebody has looked already.
    Raises BadRequest, as `splice_all` does.
    """
    if any(not path or not isinstance(path[0], str) for path, _ in changes):
        return None
    layout = layout or laid_out(raw, known)
    if layout is None:
        return None
    replaced: list[tuple[int, int, bytes]] = []
    told: Told = {}
    added: dict[str, msgspec.Raw | list[msgspec.Raw]] = {}
    for key, below in _by_key(changes).items():
        if any(not path and value is DELETE for path, value in below):
            return None
        place = layout.members.get(key)
        if place is None:
            added[key] = told[key] = msgspec.Raw(splice_all(b"{}", below))
            continue
        items, row = known.get(key), layout.rows.get(key)
        if row is not None and items is not None and not isinstance(items, msgspec.Raw) and _within(below, len(items)):
            told[key] = _items_replaced(items, row, place[0], below, replaced)
            continue
        whole = len(below) == 1 and not below[0][0]
        made = _written(below[0][1]) if whole else splice_all(raw[place[0] : place[1]], below)
        told[key] = msgspec.Raw(made)
        replaced.append((*place, made))
    return _joined(raw, sorted(replaced), added, layout.end), told


def _by_key(changes: Changes) -> dict[Any, Changes]:
    found: dict[Any, Changes] = {}
    for path, value in changes:
        found.setdefault(path[0], []).append((path[1:], value))
    return found


def _within(changes: Changes, count: int) -> bool:
    """Whether changes leave a list as long as it is."""
    return all(
        path and isinstance(path[0], int) and 0 <= path[0] < count and (len(path) > 1 or value is not DELETE)
        for path, value in changes
    )


def _items_replaced(
    items: Sequence[msgspec.Raw], row: _Row, begin: int, changes: Changes, replaced: list[tuple[int, int, bytes]]
) -> list[msgspec.Raw]:
    """begin: where the list does."""
    found = list(items)
    for index, below in _by_key(changes).items():
        start, whole = begin + row.start(items, index), len(below) == 1 and not below[0][0]
        made = _written(below[0][1]) if whole else splice_all(bytes(items[index]), below)
        replaced.append((start, start + len(memoryview(items[index])), made))
        found[index] = msgspec.Raw(made)
    return found


def _joined(raw: bytes, replaced: Sequence[tuple[int, int, bytes]], added: Told, end: int) -> bytes:
    """replaced: (start, stop, what stands there now), in order. added: members. end: where the object closes."""
    view, at, pieces = memoryview(raw), 0, list[Any]()
    for start, stop, made in replaced:
        pieces += (view[at:start], made)
        at = stop
    stop = end
    while added and raw[stop - 1] in _SPACE:
        stop -= 1
    pieces.append(view[at:stop])
    comma = b"" if raw[stop - 1] == _OPEN else b","
    for key, member in added.items():
        pieces += (comma, msgspec.json.encode(key), b":", member)
        comma = b","
    pieces.append(b"}" if added else view[end:])
    return b"".join(pieces)


class _Row(msgspec.Struct, frozen=True):
    """A list's items in its bytes, counted from where it begins. `starts`: of every `stride`th; between all others
    stands `gap`. `ends`: of the last items, of at most `_TAIL`."""

    starts: list[int]
    stride: int
    gap: bytes
    ends: list[int]

    def start(self, items: Sequence[msgspec.Raw], index: int) -> int:
        behind = len(items) - index
        if behind <= len(self.ends):
            return self.ends[-behind] - len(memoryview(items[index]))
        low = index // self.stride
        before = items[low * self.stride : index]
        return self.starts[low] + (len(self.gap.join(before)) + len(self.gap) if before else 0)


class Layout(msgspec.Struct):
    """Where an object's members stand, in bytes, and the items of lists that are known."""

    members: dict[str, tuple[int, int]]
    rows: dict[str, _Row]
    end: int  # of the brace that closes it


def laid_out(raw: bytes, known: Known) -> Layout | None:
    """Goes over the object by its members' own bytes; None where that does not come out even.

    It cannot come out wrong: it begins at the first brace, each value that is known is compared with what stands there,
    and a JSON value that begins with the bytes of another one is that one (but for numbers, behind which a comma or a
    bracket is asked for). A key that comes twice is none that can be known.
    """
    opened = _OPENS.match(raw)
    if opened is None:
        return None
    layout, at = Layout({}, {}, -1), opened.end()
    while layout.end < 0:
        key = _KEY.match(raw, at)
        if key is None:
            return None
        name, start = key[1].decode("ascii"), key.end()
        stop = _stop(raw, start, known.get(name), layout.rows, name)
        after = _AFTER.match(raw, stop) if stop > 0 else None
        if after is None or name in layout.members:
            return None
        layout.members[name] = start, stop
        at = after.end()
        if after[1] == b"}":
            layout.end = after.start(1)
    return layout if not raw[at:].strip(_SPACE) else None


def grown(
    raw: bytes, old: bytes, layout: Layout, name: str, items: Sequence[msgspec.Raw], last: int
) -> tuple[list[msgspec.Raw], Layout, int] | None:
    """Of an object that is `old` but for the last items of one of its lists: that list's items, the layout, and how
    many of the items are the old list's; None where it is not.

    layout, items: of `old`. last: how many items of the old list may be other ones.
    """
    row, view = layout.rows[name], memoryview(old)
    begin, end = layout.members[name]
    ends = row.ends[-last - 1 :]  # of the last item that must be the same, and of those that may be other ones
    if not ends:  # a list that only grew shorter
        return None
    at, kept = begin + ends[0], len(items) - len(ends) + 1
    tail = view[end - 1 :]  # from the bracket that closes the list
    if not raw.startswith(view[:at]) or not raw.endswith(tail):
        return None
    stop = len(raw) - len(tail)
    for more in range(len(ends) - 1, 0, -1):  # nearly always all are the same, or all but the last
        if raw.startswith(view[at : begin + ends[more]], at):
            at, kept = begin + ends[more], kept + more
            break
    new = _between(raw, at, stop)
    if new is None:
        return None
    whole = [*items[:kept], *new]
    grew = _row_with(raw, begin, at, kept, new, row, len(items))
    if grew is None:
        return None
    moved = len(raw) - len(old)
    members = {
        key: (low + moved, high + moved) if low > begin else (low, high) for key, (low, high) in layout.members.items()
    }
    members[name] = begin, end + moved
    return whole, Layout(members, {**layout.rows, name: grew}, layout.end + moved), kept


def _between(raw: bytes, at: int, stop: int) -> list[msgspec.Raw] | None:
    """The items that follow one that ended at `at`, up to where the list is closed; None for anything else."""
    if stop < at:
        return None
    gap = _GAP.match(raw, at, stop)
    if gap is None:
        return None if raw[at:stop].strip(_SPACE) else []
    try:
        return _array.decode(b"".join((b"[", memoryview(raw)[gap.end() : stop], b"]"))) or None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _row_with(
    raw: bytes, begin: int, at: int, kept: int, new: Sequence[msgspec.Raw], row: _Row, before: int
) -> _Row | None:
    """The row of a list of `before` items of which the first are kept, the last of them up to `at`, and `new` ones
    follow. begin: where the list does."""
    starts = row.starts[: -(-kept // row.stride)]
    ends = row.ends[: kept - before] if kept < before else [*row.ends]
    for index, item in enumerate(new, kept):
        gap = _GAP.match(raw, at)
        if gap is None or not raw.startswith(item, gap.end()):
            return None
        if index % row.stride == 0:
            starts.append(gap.end() - begin)
        elif gap[0] != row.gap:
            return None
        at = gap.end() + len(memoryview(item))
        ends.append(at - begin)
    return _Row(starts, row.stride, row.gap, ends[-_TAIL:])


def _stop(raw: bytes, start: int, value: Any, rows: dict[str, _Row], name: str) -> int:
    """Where the value ends; -1: not found."""
    if isinstance(value, msgspec.Raw):
        return start + len(memoryview(value)) if raw.startswith(value, start) else -1
    if isinstance(value, Sequence):
        found = _row(raw, start, value)
        if found is None:
            return -1
        rows[name], stop = found
        return stop
    plain = _PLAIN.match(raw, start)
    return plain.end() if plain is not None else _closed(raw, start)


def _row(raw: bytes, start: int, items: Sequence[msgspec.Raw]) -> tuple[_Row, int] | None:
    """A list whose items are known, and where it ends; None where others stand there."""
    opened = _LIST.match(raw, start)
    if opened is None:
        return None
    second = _GAP.match(raw, opened.end() + len(memoryview(items[0]))) if len(items) > 1 else None
    gap = second[0] if second is not None else b","
    for stride in (_STRIDE, 1):  # one by one where not all of them stand equally apart
        starts, at = list[int](), opened.end()
        for low in range(0, len(items), stride):
            between = _GAP.match(raw, at) if low else None
            at = between.end() if between is not None else at
            piece = gap.join(items[low : low + stride])
            if not raw.startswith(piece, at):
                break
            starts.append(at - start)
            at += len(piece)
        else:
            closed = _CLOSES.match(raw, at)
            row = _Row(starts, stride, gap, [])
            last = range(max(len(items) - _TAIL, 0), len(items))
            ends = [row.start(items, index) + len(memoryview(items[index])) for index in last]
            return (_Row(starts, stride, gap, ends), closed.end()) if closed is not None else None
    return None


def _closed(raw: bytes, start: int) -> int:
    """Where a small object or list ends; -1 for others."""
    depth, at = 0, start
    for _ in range(_SMALL):
        token = _TOKEN.match(raw, at)
        if token is None:
            return -1
        at = token.end()
        depth += (0, 0, 1, -1)[token.lastindex or 0]
        if depth <= 0:
            return at if token.lastindex == 3 else -1
    return -1


_SPACE = b" \t\r\n"
_OPEN = ord("{")
_STRIDE = 8  # items that are compared at once: some 20 kB, for which the allocator asks for no new memory
_TAIL = 8  # items of whose ends is known where they are: one more than may be other ones in the next body
_SMALL = 1_000  # strings and brackets; what has more is read faster than gone over here
_OPENS = re.compile(rb"[ \t\r\n]*\{[ \t\r\n]*")
_KEY = re.compile(rb'"([ !#-\[\]-~]*)"[ \t\r\n]*:[ \t\r\n]*')  # plain ASCII: one that is escaped may be any other
_AFTER = re.compile(rb"[ \t\r\n]*([,}])[ \t\r\n]*")
_LIST = re.compile(rb"\[[ \t\r\n]*")
_GAP = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")
_CLOSES = re.compile(rb"[ \t\r\n]*\]")
_PLAIN = re.compile(rb'-?[0-9][0-9.eE+-]*|true|false|null|"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_TOKEN = re.compile(rb'[^"\[\]{}]*(?:("[^"\\]*(?:\\.[^"\\]*)*")|([\[{])|([\]}]))', re.DOTALL)
