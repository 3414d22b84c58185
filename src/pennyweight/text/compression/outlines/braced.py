"""An outline by braces: JavaScript, TypeScript, Go, Rust, Java, Kotlin, C, C++, C#, PHP, Swift and the like."""

from __future__ import annotations

import re

from .shape import BODY, DETAIL, FACT, HEAD, Outline, Part

__all__ = ["braced"]

_TOKEN = re.compile(
    r"/\*.*?\*/|//[^\n]*|/\*|`(?:[^`\\]|\\.)*+`"
    r'|"(?:[^"\\\n]|\\.)*+"|\'(?:[^\'\\\n]|\\.)*+\'|[(){}\[\];]|\n',
    re.DOTALL,
)
_TOKEN_LIFETIMES = re.compile(
    r"/\*.*?\*/|//[^\n]*|/\*|\"(?:[^\"\\]|\\.)*+\"|'(?:\\[^\n]{1,10}?|[^'\\\n])'|[(){}\[\];]|\n", re.DOTALL
)
_RUST = re.compile(r"^\s*(?:pub(?:\(\w+\))? )?(?:fn|impl|mod|trait)\b|\blet mut\b|&'\w+ ", re.MULTILINE)
_CONTAINS = re.compile(
    r"(?:^|\s)(?:class|interface|namespace|impl|mod|trait|module|struct|enum|union|object|protocol|extension|extern)\b"
    r"|(?:^|\s)type\s+\w+(?:\[[^\]]*\])?\s+(?:struct|interface)|(?:^|\s)(?:describe|context|suite)\s*(?:\.\w+)?\("
)
_CALLS_OR_ASSIGNS = re.compile(r"=>|(?<![=!<>])=(?![=>])|\breturn\b|\bnew\b|\b(?:func|fn|function)\b")
_IMPORT = re.compile(
    r"\s*(?:import\b|export\s+(?:\*|\{)|from\b|use\b|using\b|#\s*include|package\b|mod\s+\w+;"
    r"|require\b|const [^=]*= *require\()"
)
_DECLARES = re.compile(
    r"(?:export|function|class|func|fn|pub|impl|public|private|package|type|interface|struct|enum|static|import|use|namespace)\b"
)
_NAMES = re.compile(r"([A-Za-z_$][\w$]*)\s*(?:<[^<>()]*>\s*)?\(|([A-Za-z_$][\w$]*)\s*[:=]")
_NOT_NAMES = frozenset(["if", "for", "while", "switch", "catch", "function", "func", "fn", "return", "async"])
_KEYED = re.compile(r"(?:class|interface|namespace|impl|mod|trait|struct|enum|object|type)\s+([\w$:.<>]+)")
_GOES_ON = frozenset(",+-*/|&=<(.:?") - {"/"}
_GOES_ON_FROM = frozenset("{)].?:+-*|&=<>,")
_CLAUSE = re.compile(r"(?:where|extends|implements|throws|else|catch|finally|override|noexcept|const)\b")


def braced(lines: list[str]) -> Outline:
    """The outline of lines whose blocks are told by braces."""
    text = "\n".join(lines)
    return _Reader(lines, text).read()


class _Block:
    __slots__ = ("first", "head", "name", "opens")

    def __init__(self, first: int, head: int, name: str, opens: bool) -> None:
        self.first = first
        self.head = head
        self.name = name
        self.opens = opens  # whether it contains declarations, and not how something works


class _Reader:
    """One pass over the tokens; a class because the state of the pass has many parts."""

    def __init__(self, lines: list[str], text: str) -> None:
        self.lines = lines
        self.text = text
        self.ranks = [-1] * len(lines)
        self.parts: list[Part] = []
        self.blocks: list[_Block] = []
        self.bodies = 0  # how many of the blocks are bodies
        self.round = 0  # brackets open, braces aside
        self.edge = 0  # where the statement at hand begins

    def read(self) -> Outline:
        token = _TOKEN_LIFETIMES if len(_RUST.findall(self.text[:20_000])) >= 3 else _TOKEN
        line = 0
        for found in token.finditer(self.text):
            said = found[0]
            sign = said[0]
            if sign == "\n":
                line += 1
                self._line(line, found.end())
            elif sign == "{":
                self._open(line, found.start(), found.end())
            elif sign == "}":
                self._shut(line, found.end())
            elif sign == ";":
                if not self.round and not self.bodies:
                    self.edge = found.end()
            elif sign in "([":
                self.round += 1
            elif sign in ")]":
                self.round = max(self.round - 1, 0)
            elif sign == "/":
                line = self._comment(line, said, found.start(), found.end())
            else:
                line += said.count("\n")
        while self.blocks:
            self._end(self.blocks.pop(), len(self.lines) - 1)
        return Outline(self._ranked(), sorted(self.parts))

    def _line(self, line: int, at: int) -> None:
        """A new line. One that declares something without being indented ends bodies that were never closed."""
        if line >= len(self.lines):
            return
        if not self.bodies:
            if not self.round and self._stands_alone(line):
                self.edge = at
            return
        if _DECLARES.match(self.lines[line]):
            while self.blocks and not self.blocks[-1].opens:
                self._end(self.blocks.pop(), line - 1)
                self.bodies -= 1
            self.round = 0
            self.edge = at

    def _stands_alone(self, line: int) -> bool:
        """Whether a statement may begin here where none needs a semicolon: neither this line nor the last goes on."""
        before, after = self.lines[line - 1].strip(), self.lines[line].lstrip()
        if not after or before[-1:] in _GOES_ON or before.startswith("where"):
            return False
        return after[:1] not in _GOES_ON_FROM and not _CLAUSE.match(after)

    def _comment(self, line: int, said: str, start: int, end: int) -> int:
        """A comment between declarations: its first line that says something is told apart from its others."""
        last = line + said.count("\n")
        blank = start - self.edge < 400 and not self.text[self.edge : start].strip()
        if not self.bodies and not self.round and blank:
            self.edge = end
            if not self.lines[line].lstrip().startswith(("/*", "//")):
                return last
            if said.startswith("//"):
                before = self.lines[line - 1].lstrip() if line else ""
                self.ranks[line] = DETAIL if before.startswith("//") else FACT
            else:
                self.ranks[line : last + 1] = [DETAIL] * (last - line + 1)
                shown = line if said.split("\n", 1)[0].strip("/*! \t") else min(line + 1, last)
                self.ranks[shown] = FACT
        return last

    def _open(self, line: int, start: int, end: int) -> None:
        if self.bodies:
            self.blocks.append(_Block(line, line, "", opens=False))
            self.bodies += 1
            return
        head = self.text[max(self.edge, start - 2_000) : start]
        first = line - head.lstrip().count("\n")
        declares = _CONTAINS.search(head)
        opens = declares is not None and (
            not _CALLS_OR_ASSIGNS.search(head) or head.lstrip().startswith(("describe", "context", "suite"))
        )
        if self.round and not (opens and "(" in (declares[0] if declares else "")):
            opens = False
        self.blocks.append(_Block(first, line, _name(head), opens=opens))
        self.bodies += not opens
        self.edge = end

    def _shut(self, line: int, end: int) -> None:
        if not self.blocks:
            if not self.round:  # a view that begins inside of something: what stood before is its body
                self._body(Part(0, -1, line, "", 0))
            self.edge = end
            return
        block = self.blocks.pop()
        self.bodies -= not block.opens
        if not self.bodies:
            self._end(block, line)
            self.edge = end

    def _end(self, block: _Block, line: int) -> None:
        if block.opens:
            self._rank(block.first, block.head, HEAD)
            return
        if self.bodies and self.blocks:
            return
        self._rank(block.first, min(block.head, len(self.lines) - 1), HEAD)
        level = sum(outer.opens for outer in self.blocks)
        self._body(Part(block.first, block.head, line, block.name, level))

    def _body(self, part: Part) -> None:
        if part.last <= part.head:
            return
        before = self.parts[-1] if self.parts else None
        if before is not None and before.last >= part.first:  # `} else {`: one part
            if part.last > before.last:
                self.parts[-1] = before._replace(last=part.last)
                self._rank(before.last, part.last, BODY)
            return
        self.parts.append(part)
        self._rank(part.head + 1, part.last, BODY)

    def _rank(self, first: int, last: int, rank: int) -> None:
        for at in range(max(first, 0), min(last, len(self.lines) - 1) + 1):
            if rank == BODY or self.ranks[at] < 0 or rank < self.ranks[at]:
                self.ranks[at] = rank

    def _ranked(self) -> list[int]:
        """What no declaration, body or comment claimed: imports, and statements of one line, fields, constants."""
        for at, rank in enumerate(self.ranks):
            if rank < 0:
                line = self.lines[at]
                self.ranks[at] = HEAD if _IMPORT.match(line) else FACT if line.strip() else DETAIL
        return self.ranks


def _name(head: str) -> str:
    """What is declared before a brace: the name before its parameters, or what it is assigned to."""
    if (keyed := _KEYED.search(head)) is not None:
        return keyed[1]
    for called, given in _NAMES.findall(head):
        if (name := called or given) not in _NOT_NAMES:
            return str(name)
    return ""
