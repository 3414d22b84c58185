"""[cascade] in the file: defaults, and what is refused with its line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from pennyweight.config import load
from pennyweight.errors import ConfigError
from pennyweight.routing.settings import CascadeTable


def read(folder: Path, text: str) -> CascadeTable:
    file = folder / "pennyweight.toml"
    file.write_text(text)
    return load(file, {}, {"data_dir": folder}).cascade


def test_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "") == CascadeTable()
    assert read(tmp_path, "[cascade]\nepsilon = 0.05\n").epsilon == 0.05


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("epsilon = 0.0", "between 0 and 1"),
        ("delta = 1.5", "between 0 and 1"),
        ("epsilon = nan", "between 0 and 1"),
        ("compare = -0.1", "no share"),
        ("compare_first = 2", "no share"),
        ("window = 100", "too small"),
        ("peer_wait_s = 0", "above 0"),
        ("peer_wait_s = nan", "above 0"),
        ("hold_bytes = -1", "above 0"),
        ("pulse_s = 0.0", "above 0"),
        ('mode = "guess"', "mode"),
        ("epsilom = 0.1", "epsilom"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        read(tmp_path, f"[cascade]\n{line}\n")
    assert line.partition(" ")[0] in str(refused.value)
