from __future__ import annotations

from pennyweight.text.compression import compress, detect


def test_what_a_terminal_still_shows_is_kept_and_nothing_else() -> None:
    said = "\x1b[32mok\x1b[0m one\r\n10%\r50%\r100% done\n\x1b[1mlast\x1b[0m"
    assert detect(said) == "shell"
    made = compress(said, count=len)
    assert made.text == "ok one\n100% done\nlast"
    assert made.lossless
    assert not made.references
