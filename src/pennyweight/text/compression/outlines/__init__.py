"""Source code as parts: which lines say what there is, and which say how it works. Told from the text alone.

One scanner of strings, comments and brackets, and two ways to read what it finds: by indentation (Python, Ruby, Lua)
and by braces (JavaScript, TypeScript, Go, Rust, Java, C, C++ and the like). Neither parses a language, so that half a
file, a file with errors and one of tomorrow's syntax have an outline too. Linear in the text.
"""

from .braced import braced
from .indented import indented
from .shape import BODY, DETAIL, FACT, HEAD, Outline, Part

__all__ = ["BODY", "DETAIL", "FACT", "HEAD", "Outline", "Part", "outline"]


def outline(lines: list[str]) -> Outline:
    """The outline by whichever of the two ways the lines are written."""
    ends = [line.rstrip()[-1:] for line in lines if line.strip()]
    braces = sum(end in "{};" for end in ends)
    colons = sum(end == ":" for end in ends)
    return braced(lines) if braces > max(2 * colons, 0.15 * len(ends)) else indented(lines)
