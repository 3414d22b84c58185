"""Web pages as the text that a reader of them sees: headings, links with their targets, tables, lists, code.

Markup, scripts, styles and navigation are left out, so this form says so and is made only where the page can be had
again. A start tag that holds what was asked about (a class, an id, an attribute) stays as it was written.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from ..asked import Wanted, wanted
from ..shape import Ask, Codec, Note, Sample, Shorter
from .markdown import shortened

__all__ = ["CODEC", "page"]

_TAG = re.compile(r"</?([a-zA-Z][\w:-]*)(?=[\s>/])")
_PAGE_TAGS = """
html head body div span p a ul ol li table tr td th thead tbody h1 h2 h3 h4 h5 h6 script style link meta title nav
header footer main section article img br hr pre code form input button label select option dl dt dd b i em strong
iframe noscript blockquote center font tt
"""
_PAGE = frozenset(_PAGE_TAGS.split())
_DOCTYPE = re.compile(
    r"\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--.{0,2000}?-->\s*)?<(?:!doctype\s+html|html[\s>])", re.IGNORECASE | re.DOTALL
)
_CODE = re.compile(
    r"^\s*(?:import\b.*from|export\b|const |let |function\b|class \w+|def |return\b|\{%|<\?php)", re.MULTILINE
)
_SKIPPED = frozenset(["script", "style", "svg", "template", "noscript", "iframe", "canvas", "object", "math"])
_NEVER_SHOWN = frozenset(["script", "style", "svg", "template"])
_BOILERPLATE = frozenset(["nav", "footer", "aside"])
_BLOCK_TAGS = """
address article blockquote body center dd details div dl dt fieldset figcaption figure footer form header hr html li
main nav ol p pre section summary table tbody tfoot thead title tr ul caption option
"""
_BLOCKS = frozenset(_BLOCK_TAGS.split())
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_TOLD = frozenset(["a", "img", "input", "meta"])
_SPACE = re.compile(r"\s+")
_OPEN = re.compile(r"<(/?)([a-zA-Z][^\s/>]{0,60})((?:[^<>\"']|\"[^\"]{0,4000}\"|'[^']{0,4000}')*+)>")
_OPEN_SIMPLY = re.compile(r"<(/?)([a-zA-Z][^\s/>]{0,60})([^<>]{0,2000})>")
_ATTRIBUTE = re.compile(r"([^\s=>\"'/]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+))")
_RAW = {tag: re.compile(f"</{tag}", re.IGNORECASE) for tag in ("script", "style")}
BROKEN = 50
"""Tags with quotes that never end, after which a page is read without minding quotes: each costs a look ahead."""
_OF_MARKUP = frozenset(["css", "dom", "markup", "selector", "xpath"])
WORTH = 0.85


class _Page:
    """Collects lines, one piece of markup after the other: tags may be open, shut twice or cut off.

    Not the parser of the standard library, whose work on broken markup grows with the square of its length.
    """

    def __init__(self, want: Wanted, *, boilerplate: bool) -> None:
        self.want = want
        self.boilerplate = boilerplate
        self.title = ""
        self.description = ""
        self.lines: list[str] = []
        self.line: list[str] = []  # pieces of the line at hand
        self.skipped: list[str] = []  # the element whose text is not shown, once for each time it is open
        self.pre = 0
        self.links: list[str] = []  # targets of the links that are open
        self.followed: set[str] = set()  # targets already given: each is, once
        self.prefix = ""
        self.in_title = False
        self.lists: list[int] = []  # of each open list the next number, -1: no numbers
        self.row: list[str] | None = None  # cells of the table row at hand

    def read(self, text: str) -> None:
        at, broken = 0, 0
        while (mark := text.find("<", at)) >= 0:
            if mark > at:
                self._data(text[at:mark])
            if text.startswith("<!--", mark):
                end = text.find("-->", mark + 4)
                at = end + 3 if end >= 0 else len(text)
            elif text[mark + 1 : mark + 2] in {"!", "?"}:
                end = text.find(">", mark)
                at = end + 1 if end >= 0 else len(text)
            else:
                found = (_OPEN if broken < BROKEN else _OPEN_SIMPLY).match(text, mark)
                if found is None and broken < BROKEN:
                    broken += 1
                    found = _OPEN_SIMPLY.match(text, mark)
                at = self._tag(text, mark, found)
        self._data(text[at:])
        self._end_row()
        self._flush()
        if self.pre:
            self.lines.append("```")

    def _tag(self, text: str, mark: int, found: re.Match[str] | None) -> int:
        """One tag; gives where to read on: behind it, behind what a script holds, or behind a sign that is no tag."""
        if found is None:
            self._data("<")
            return mark + 1
        tag = found[2].lower()
        if found[1]:
            self._shut(tag)
            return found.end()
        self._start(tag, found[0], found[3])
        if tag in _RAW and not found[3].endswith("/"):
            end = _RAW[tag].search(text, found.end())
            return end.start() if end is not None else len(text)
        return found.end()

    def _start(self, tag: str, raw: str, attributes: str) -> None:
        if self.skipped:
            if tag == self.skipped[-1]:
                self.skipped.append(tag)
            return
        asked = bool(self.want.telling) and self.want.weight(raw) >= 3
        if tag in _NEVER_SHOWN or (not self.boilerplate and (tag in _SKIPPED or (tag in _BOILERPLATE and not asked))):
            if not attributes.endswith("/"):
                self.skipped.append(tag)
            return
        if tag in _BLOCKS or tag in _HEADINGS or tag == "br":
            self._flush()
        if asked:
            self.line.append(f" {raw} ")
        if tag in _HEADINGS:
            self.prefix = _HEADINGS[tag]
        elif tag == "li":
            self._item()
        elif tag in {"ul", "ol"}:
            self.lists.append(1 if tag == "ol" else -1)
        elif tag == "title":
            self.in_title = True
        elif tag == "pre":
            self._end_row()  # its lines are not one cell: what the row holds before it stands above them
            self.pre += 1
            self.lines.append("```")
        elif tag == "table":
            self._end_row()  # a table in a cell of another
        elif tag == "tr":
            self._end_row()
            self.row = None if self.pre else []
        elif tag in {"td", "th"}:
            self._cell() if self.row is not None else self._flush()
        elif tag in _TOLD:
            self._told(
                tag, {name.lower(): html.unescape(a or b or c) for name, a, b, c in _ATTRIBUTE.findall(attributes)}
            )

    def _told(self, tag: str, given: dict[str, str]) -> None:
        """A tag that says something by its attributes."""
        if tag == "a":
            self.links.append(given.get("href", ""))
        elif tag == "img" and given.get("alt", "").strip():
            self.line.append(f"[{given['alt'].strip()}]")
        elif tag == "input" and given.get("type", "hidden") != "hidden":
            self.line.append(f"[{given['type']} {given.get('name', '')} {given.get('value', '')}]")
        elif tag == "meta" and (given.get("name") == "description" or given.get("property") == "og:description"):
            self.description = self.description or _SPACE.sub(" ", given.get("content", "")).strip()

    def _shut(self, tag: str) -> None:
        if self.skipped:
            if tag == self.skipped[-1]:
                self.skipped.pop()
            return
        if tag == "a" and self.links:
            target = self.links.pop()
            if target and target not in self.followed and not target.startswith(("#", "javascript:")):
                self.followed.add(target)
                self.line.append(f" ({target})")
        elif tag in {"ul", "ol"} and self.lists:
            self._flush()
            self.lists.pop()
        elif tag == "title":
            self.in_title = False
        elif tag == "pre" and self.pre:
            self._flush()
            while not self.lines[-1]:
                self.lines.pop()
            self.pre -= 1
            self.lines.append("```")
        elif tag == "tr":
            self._end_row()
        elif tag in _HEADINGS or tag in _BLOCKS:
            self._flush()

    def _data(self, data: str) -> None:
        if self.skipped or not data:
            return
        data = html.unescape(data) if "&" in data else data
        if self.in_title:
            self.title += data
        elif self.pre:
            first, *rest = data.split("\n")
            self.line.append(first)
            for part in rest:
                self._flush()
                self.line.append(part)
        else:
            self.line.append(data)

    def _item(self) -> None:
        number = self.lists[-1] if self.lists else -1
        self.prefix = "  " * max(len(self.lists) - 1, 0) + (f"{number}. " if number > 0 else "- ")
        if number > 0:
            self.lists[-1] += 1

    def _cell(self) -> None:
        said = _SPACE.sub(" ", "".join(self.line)).strip()
        self.line = []
        if self.row is not None and said:
            self.row.append(self.prefix + said)
            self.prefix = ""

    def _end_row(self) -> None:
        if self.row is None:
            return
        self._cell()
        cells, self.row = self.row, None
        if cells:
            self.lines.append(" | ".join(cells))

    def _flush(self) -> None:
        """Ends the line at hand. Within a row of a table it goes on: a cell is one line however it is set."""
        if self.row is not None and not self.pre:
            self.line.append(" ")
            return
        said = "".join(self.line)
        self.line = []
        if self.pre:
            self.lines.append(said.rstrip())
        elif said := _SPACE.sub(" ", said).strip():
            self.lines.append(self.prefix + said)
        else:
            return
        self.prefix = ""


def page(text: str, want: Wanted = Wanted(), *, boilerplate: bool = False) -> str:  # noqa: B008 - frozen
    """What a page says: title, description, then its text in its order. boilerplate: navigation and footers too."""
    read = _Page(want, boilerplate=boilerplate)
    read.read(text)
    if not boilerplate and (read.skipped or sum(map(len, read.lines)) < 0.05 * len(text)):
        return page(text, want, boilerplate=True)  # an element that was never shut, or a page of nothing else
    head = [f"# {title}"] if (title := _SPACE.sub(" ", read.title).strip()) else []
    head += [read.description] if read.description else []
    return "\n".join([*head, *_tidied(read.lines)])


def _tidied(lines: Iterable[str]) -> Iterable[str]:
    """The lines without empty fences, and without two blank lines in a row."""
    held: list[str] = []
    fenced = False
    for line in lines:
        if line == "```":
            fenced = not fenced
            if fenced:
                held = [line]
                continue
            if not any(part.strip() for part in held[1:]):
                held = []
                continue
            yield from held
            held = []
            yield line
        elif fenced:
            held.append(line)
        else:
            yield line
    yield from held


def _sniff(sample: Sample) -> float:
    head = sample.head
    if _DOCTYPE.match(head):
        return 0.98
    names = [name.lower() for name in _TAG.findall(head)]
    known = sum(name in _PAGE for name in names)
    if known < 8 or known < 0.7 * len(names) or len(_CODE.findall(head)) > 1 or head.lstrip()[:1] != "<":
        return 0.0
    inside = sum(len(tag) for tag in re.findall(r"<[^<>]{1,2000}>", head))
    return 0.9 if inside > 0.2 * len(head) else 0.6


def _reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    want = wanted(ask)
    if want.narrow or want.plain & _OF_MARKUP:
        return None
    form = page(text, want)
    ask.in_time()
    if not form.strip():
        return None
    left = "markup, scripts and navigation of the page"
    if len(form) > room and (fewer := shortened(form, want, room)) is not None:
        form, missing = fewer
        left = f"{left} and {missing}"
    form = f"{form}\n{note(left)}"
    return Shorter(form, left) if len(form) < WORTH * len(text) else None


def _none(text: str) -> str | None:
    return None


CODEC = Codec(
    kind="html",
    sniff=_sniff,
    lossless=_none,
    reduced=_reduced,
    guarantees=(
        "Text that a reader of the page sees is there in its order, entities decoded.",
        "Targets of links are there once each; rows of tables and code are kept.",
        "A start tag that holds what was asked about is there as it was written.",
    ),
)
