"""`pennyweight compress`: a file or stdin, shortened as a tool result would be, with what became of its tokens."""

from __future__ import annotations

import codecs
import difflib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, cast

import click

from ..errors import ConfigError
from ..text.compression import KINDS, Kind
from ..text.compression.codecs import json_, table
from ..text.compression.library import Compressed, compress
from ..text.compression.records import MAX_CHARS, NotPacked

__all__ = ["command", "difference"]

SHOWN_PIECES = 6_000
"""Of each side of a diff; comparing takes the square of them."""

CONTEXT_PIECES = 40
"""Of what stayed, shown at either end of a longer piece."""

_PIECE = re.compile(r" ?[^\W\d_]+|\d{1,3}|\n| +|[^\w\s]+|\s|_")
Part = tuple[Literal["same", "gone", "new"], str]


@click.command(
    epilog="""Try:

    \b
    pennyweight compress orders.json
    curl -s localhost:8000/items | pennyweight compress --diff
    pennyweight compress app.log --query "why did the payment fail?" --room 1000
    pennyweight compress orders.json | pennyweight compress --unpack
    """
)
@click.argument("path", type=click.Path(path_type=Path, allow_dash=True), default="-", metavar="[FILE]")
@click.option("--kind", type=click.Choice(["auto", *KINDS]), default="auto", show_default=True, help="What it is.")
@click.option("--query", default="", help="What the reader wants to know: what it names is kept.")
@click.option("--arguments", default="", metavar="JSON", help="What the tool was called with: kept likewise.")
@click.option("--room", type=click.IntRange(min=1), metavar="TOKENS", help="Leave parts out if it is still longer.")
@click.option("--words", is_flag=True, help="With --room: at the last, leave lesser words of English prose out too.")
@click.option("--diff", is_flag=True, help="Show what went and what came, in colour; as [-…-]{+…+} when piped.")
@click.option("--unpack", is_flag=True, help="Give JSON or CSV back from the form that this command wrote.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    path: Path,
    kind: str,
    query: str,
    arguments: str,
    room: int | None,
    words: bool,
    diff: bool,
    unpack: bool,
    as_json: bool,
) -> None:
    """Shorten a text as a tool result on its way to a model would be.

    FILE is read from stdin if it is "-" or left out. The text goes to stdout, what was saved to stderr. Without --room
    nothing is left out. Tokens are those of o200k_base.
    """
    if diff and as_json:
        raise click.UsageError("--diff and --json are two ways to print; give one of them.")
    text = _text(path)
    if unpack:
        _put(_unpacked(text, path))
        return
    made = compress(
        text,
        kind=cast("Kind | Literal['auto']", kind),
        query=query,
        arguments=arguments,
        room_tokens=room,
        reference=None if str(path) == "-" else str(path),
        words=words and room is not None,
    )
    if as_json:
        click.echo(json.dumps(as_object(made)))
        return
    if diff:
        _show(text, made.text)
    else:
        _put(made.text)
    click.echo(_summary(made), err=True)


def as_object(made: Compressed) -> dict[str, object]:
    return {
        "kind": made.kind,
        "tokens_before": made.tokens_before,
        "tokens_after": made.tokens_after,
        "saved": _saved(made),
        "lossless": made.lossless,
        "left_out": made.left_out,
        "references": list(made.references),
        "guarantees": list(made.guarantees),
        "text": made.text,
    }


def _saved(made: Compressed) -> float:
    return round(1 - made.tokens_after / made.tokens_before, 4) if made.tokens_before else 0.0


def _summary(made: Compressed) -> str:
    if not made.changed and made.kind in ("json", "table") and len(made.text) > MAX_CHARS:
        return f"{made.kind}, {made.tokens_before:,} tokens: over {MAX_CHARS:,} characters, left as it is."
    if not made.changed:
        return f"{made.kind}, {made.tokens_before:,} tokens: no shorter form, left as it is."
    lost = "nothing left out" if made.lossless else f"{made.left_out} left out"
    return f"{made.kind}, {made.tokens_before:,} → {made.tokens_after:,} tokens (−{_saved(made):.1%}), {lost}."


def _text(path: Path) -> str:
    """Bytes that are no UTF-8 come out as they went in. Raises ConfigError."""
    if str(path) == "-":
        if sys.stdin.isatty():
            raise ConfigError("Nothing to read: name a FILE, or pipe a text into it.", where="stdin")
        raw = sys.stdin.buffer.read()
    else:
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"Cannot be read: {error.strerror}.", where=str(path)) from None
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", "replace")
    return raw.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _unpacked(text: str, path: Path) -> str:
    form = text.removesuffix("\n")
    restored = table.unpacked(form)
    if restored != form:
        return restored
    try:
        return json_.unpacked(form)
    except (NotPacked, RecursionError) as error:
        raise ConfigError(
            f"This is no packed form: {error}. Only JSON and CSV that nothing was left out of can be unpacked.",
            where=str(path),
        ) from None


def _put(text: str) -> None:
    """On stdout, with a line feed at the end."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    if not text.endswith("\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def _show(before: str, after: str) -> None:
    bare = not sys.stdout.isatty()
    marks = {"same": "{}", "gone": "[-{}-]", "new": "{{+{}+}}"}
    for kind, text in difference(before, after):
        shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if bare:
            click.echo(marks[kind].format(shown), nl=False)
        elif kind == "same":
            click.echo(shown, nl=False)
        else:
            # a line feed has no colour of its own: it is shown as a sign
            shown = shown.replace("\n", "↵" if kind == "gone" else "↵\n")
            click.secho(shown, nl=False, fg="red" if kind == "gone" else "green", strikethrough=kind == "gone")
    click.echo()


def difference(before: str, after: str) -> Iterator[Part]:
    """What stayed, went and came, in order; of long texts the beginning, of long unchanged stretches both ends."""
    old, new = _pieces(before), _pieces(after)
    cut = max(len(old), len(new)) > SHOWN_PIECES
    old, new = old[:SHOWN_PIECES], new[:SHOWN_PIECES]
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new).get_opcodes():
        if tag == "equal":
            yield "same", _shortened(old[a:b])
            continue
        if b > a:
            yield "gone", "".join(old[a:b])
        if d > c:
            yield "new", "".join(new[c:d])
    if cut:
        yield "same", f"\n… (the first {SHOWN_PIECES:,} words and signs are compared)"


def _pieces(text: str) -> list[str]:
    """About its tokens; a text of many megabytes is not taken apart further than is shown."""
    found = _PIECE.finditer(text)
    return [piece[0] for piece, _ in zip(found, range(SHOWN_PIECES + 1), strict=False)]


def _shortened(pieces: Sequence[str]) -> str:
    if len(pieces) <= 3 * CONTEXT_PIECES:
        return "".join(pieces)
    return f"{''.join(pieces[:CONTEXT_PIECES])} … {''.join(pieces[-CONTEXT_PIECES:])}"
