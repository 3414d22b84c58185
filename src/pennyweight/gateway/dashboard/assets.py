"""The page's own files, from the installed package. They hold no figures, so anybody who may connect gets them.

Nothing else may be loaded: no inline script or style, nothing from another host, and no other site may frame the page.
"""

from __future__ import annotations

import re
from importlib.resources import files

from ...errors import NotFound
from ...front.http import HttpResponse

__all__ = ["PREFIX", "asset", "page"]

PREFIX = "/pennyweight/assets/"

_TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
_NAME = re.compile(r"(?:views/)?[a-z]+\.(?:js|css|svg)")
_SAFE = (
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
)


def page() -> HttpResponse:
    return HttpResponse(200, (("content-type", "text/html; charset=utf-8"), *_SAFE), _read("index.html"))


def asset(path: str) -> HttpResponse:
    """The file at a path below PREFIX. Raises NotFound."""
    name = path.removeprefix(PREFIX)
    if _NAME.fullmatch(name) is None:
        raise NotFound(f"The dashboard has no file {name[:80]!r}. The page itself is at /.")
    try:
        body = _read(name)
    except FileNotFoundError:
        raise NotFound(f"The dashboard has no file {name[:80]!r}. The page itself is at /.") from None
    return HttpResponse(200, (("content-type", _TYPES[name.rpartition(".")[2]]), *_SAFE), body)


def _read(name: str) -> bytes:
    return files(__package__).joinpath("static", *name.split("/")).read_bytes()
