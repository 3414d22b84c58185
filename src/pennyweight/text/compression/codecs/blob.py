"""Bytes written as text, and text on one line: base64, data: URIs, hex dumps, bundles. Said instead of shown."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from hashlib import sha256

from ..lines import has_marks, lines_of, more
from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "reduced"]

FEWEST_CHARS = 256
"""Shorter runs may be keys and digests, which are asked for letter by letter."""
MOST_ASKED = 8
AROUND_CHARS = 120
SHOWN_HEAD, SHOWN_TAIL = 600, 200

# No part can fail after a long one has matched: a search that began again at every line would cost a square.
_BASE64 = re.compile(
    rf"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{{{FEWEST_CHARS},}}+={{0,2}}"
    r"|(?:[A-Za-z0-9+/]{60,76}+\r?\n){4,}+(?:[A-Za-z0-9+/]{1,76}+={0,2})?)"
)
_HEX_LINE = re.compile(
    r"\s{0,8}(?:0x)?[0-9a-fA-F]{4,16}[:| ] {0,3}(?:[0-9a-fA-F]{2,8}[ :-]{1,2}){3,32}"
    r"(?:[0-9a-fA-F]{2,8})?(?: .{0,80}|\|.{0,80})?\Z"
)
_OURS = re.compile(r"\[\+\d+ characters")
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"GIF8", "GIF image"),
    (b"RIFF", "RIFF file"),
    (b"%PDF-", "PDF document"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\x00", "xz data"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"\x7fELF", "ELF binary"),
    (b"MZ", "Windows binary"),
    (b"\xca\xfe\xba\xbe", "Java class"),
    (b"\x00asm", "WebAssembly"),
    (b"wOFF", "WOFF font"),
    (b"wOF2", "WOFF2 font"),
    (b"\x00\x01\x00\x00\x00", "TrueType font"),
    (b"ID3", "MP3 audio"),
    (b"OggS", "Ogg media"),
    (b"SQLite format 3\x00", "SQLite database"),
    (b"<?xml", "XML"),
    (b"<svg", "SVG image"),
    (b"0\x82", "DER data"),
)


def lossless(text: str) -> str | None:
    return None


def reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    """Each run of encoded bytes becomes what it is, how long, and its digest; of a hex dump the ends stay; of one long
    line the ends, and what stands around the names that the reader gives."""
    if has_marks(text) or _OURS.search(text):
        return None
    if _is_hex_dump(text[:4_000].split("\n")):
        return _hex_dump(text, ask, note)
    made, left = _without_base64(text, ask)
    if left:
        said = f"{left:,} of {len(text):,} characters"
        return Shorter(f"{made}\n{note(said)}", said)
    return _long_line(text, ask, room, note) if _is_minified(text[:20_000], len(text)) else None


def _without_base64(text: str, ask: Ask) -> tuple[str, int]:
    pieces: list[str] = []
    end = left = 0
    for found in _BASE64.finditer(text):
        ask.in_time()
        told = _told(found[0])
        if told is None:
            continue
        pieces += [text[end : found.start()], told]
        left += len(found[0])
        end = found.end()
    return "".join([*pieces, text[end:]]), left


def _told(run: str) -> str | None:
    """What a run of base64 is; None where it is none: words run together, digits, one letter over and over."""
    plain = run.replace("\r", "").replace("\n", "")
    seen = plain[:4_096]
    if len(set(seen)) < 16 or seen.isdigit():
        return None
    hexadecimal = all(sign in "0123456789abcdefABCDEF" for sign in seen[:512])
    if not hexadecimal and not (re.search("[a-z]", seen) and re.search("[A-Z]", seen) and re.search(r"\d", seen)):
        return None
    digest = sha256(plain.encode()).hexdigest()[:12]
    if hexadecimal:
        begins = bytes.fromhex(plain[:64])
        size = len(plain) // 2
    else:
        begins = _decoded(plain[:64])
        size = len(plain.rstrip("=")) * 3 // 4
    kind = next((name for magic, name in _MAGIC if begins.startswith(magic)), "data")
    code = "hex" if hexadecimal else "base64"
    return f"[+{len(plain)} characters of {code}: {kind}, {size} bytes, sha256 of the {code} {digest}]"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/")[: len(text) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""


def _is_hex_dump(lines: list[str]) -> bool:
    whole = [line for line in lines[:-1] if line][:40]
    return len(whole) >= 8 and sum(_HEX_LINE.match(line, 0, 300) is not None for line in whole) >= 0.8 * len(whole)


def _hex_dump(text: str, ask: Ask, note: Note) -> Shorter | None:
    """The first two and the last two lines of every run of dumped bytes; every other line as it is."""
    made: list[str] = []
    run: list[str] = []
    left = total = 0
    for line in [*lines_of(text), ""]:
        total += 1
        if len(line) <= 300 and _HEX_LINE.match(line) and not ask.named_in(line):
            run.append(line)
            continue
        if len(run) > 6:
            made += [*run[:2], more(len(run) - 4, "lines of bytes"), *run[-2:]]
            left += len(run) - 4
        else:
            made += run
        run.clear()
        made.append(line)
    if not left:
        return None
    said = f"{left:,} of {total - 1:,} lines of bytes"
    return Shorter("\n".join([*made[:-1], note(said)]), said)


def _is_minified(head: str, length: int) -> bool:
    """Whether a text is code or markup written on one line: long, few breaks, few spaces, many signs."""
    if length < 4_000 or head.count("\n") > len(head) // 2_000 or head[:1] in "{[":
        return False
    signs = sum(head.count(sign) for sign in "{}();,=<>")
    return signs >= 0.06 * len(head) and head.count(" ") <= 0.15 * len(head)


def _long_line(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    head = min(SHOWN_HEAD, max(room // 2, 200))
    kept = [(0, head), (len(text) - SHOWN_TAIL, len(text)), *_around_names(text, ask)]
    pieces: list[str] = []
    end = left = 0
    for start, stop in sorted(kept):
        start = max(start, end)
        if start >= stop:
            continue
        if start > end:
            pieces.append(f" [+{start - end} characters] ")
            left += start - end
        pieces.append(text[start:stop])
        end = stop
    if left < SHOWN_HEAD:
        return None
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    said = f"{left:,} of {len(text):,} characters of a text with few lines, sha256 {digest},"
    return Shorter(f"{''.join(pieces)}\n{note(said)}", said)


def _around_names(text: str, ask: Ask) -> Iterator[tuple[int, int]]:
    low = text.lower()
    if len(low) != len(text):  # some capitals are two letters when small; places would be off
        low = text
    for word in ask.telling[:MOST_ASKED]:
        at = low.find(word)
        for _ in range(3):
            if at < 0:
                break
            yield max(at - AROUND_CHARS, 0), min(at + len(word) + AROUND_CHARS, len(text))
            at = low.find(word, at + len(word) + AROUND_CHARS)


def _sniff(sample: Sample) -> float:
    head = sample.head
    if len(head) < FEWEST_CHARS:
        return 0.0
    if _is_hex_dump(sample.lines):
        return 0.92
    encoded = sum(len(found[0]) for found in _BASE64.finditer(head) if _told(found[0]) is not None)
    if encoded >= 0.5 * len(head) and head[:1] not in "{[":
        return 0.93
    return 0.72 if _is_minified(head, sample.length) else 0.0


CODEC = Codec(
    kind="blob",
    sniff=_sniff,
    lossless=lossless,
    reduced=reduced,
    guarantees=(
        "What is no run of encoded bytes is there, verbatim.",
        "Of bytes it says how many they are, what they begin like, and a digest by which to tell them from others.",
        "Of a long line both ends are there, and what stands around the names that the reader gives.",
    ),
    streams=True,
)
