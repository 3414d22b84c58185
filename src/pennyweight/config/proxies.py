"""The proxies that the environment names, in the notation that curl and most other programs share."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from ..errors import ConfigError
from .settings import Proxies, Secret

__all__ = ["proxies"]

_LOCAL = ("localhost", "127.0.0.1", "::1")


def proxies(env: Mapping[str, str]) -> Proxies:
    """Lower-case names go before upper-case ones, ALL_PROXY stands in for both. Raises ConfigError."""
    direct = tuple(_names(_first(env, "NO_PROXY")[1]))
    if "*" in direct:
        return Proxies()
    urls = {}
    for scheme in ("http", "https"):
        name, value = _first(env, f"{scheme.upper()}_PROXY", "ALL_PROXY")
        if value:
            urls[scheme] = Secret(_checked(name, value))
    return Proxies(urls, (*_LOCAL, *direct)) if urls else Proxies()


def _first(env: Mapping[str, str], *names: str) -> tuple[str, str]:
    """The first of these variables that is set, and its value."""
    for name in names:
        for variable in (name.lower(), name):
            if value := env.get(variable, "").strip():
                return variable, value
    return "", ""


def _names(value: str) -> list[str]:
    """ ".example.com", "*.example.com" and "example.com:443" are all taken as example.com and the names below it."""
    found = []
    for part in value.replace(",", " ").split():
        name = part.lower().removeprefix("*.").lstrip(".")
        host, colon, port = name.rpartition(":")
        found.append(host.strip("[]") if colon and port.isdigit() and (":" not in host or "]" in host) else name)
    return [name.strip("[]") for name in found if name]


def _checked(name: str, value: str) -> str:
    """The address with its scheme. A password in it is not quoted."""
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        known = parts.scheme == "http" and bool(parts.hostname) and (parts.port or True)
    except ValueError:
        known = False
    if not known:
        shown = url.rpartition("@")[2] if "@" in url else url
        raise ConfigError(
            f"{name} {shown!r} is no proxy that can be used. Give one that speaks HTTP, such as "
            "http://proxy.example.com:3128, or unset it."
        )
    return url
