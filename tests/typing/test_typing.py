"""The public API has the types that its users will see, mistakes in its use included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def test_the_public_api_type_checks_as_a_user_would_use_it() -> None:
    """Strict mypy, which also fails for an expected error (`type: ignore[…]`) that does not come."""
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.11", str(HERE / "public_api.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "src" / "pennyweight" / "py.typed").is_file()
