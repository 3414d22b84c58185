"""Who may ask: virtual keys, what a caller on this machine may bring, and which web pages are kept out.

A key of the caller's own is passed on, never stored and never logged.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec

from ..call import Credential
from ..config import Config, is_loopback
from ..errors import ConfigError, Forbidden, Unauthenticated
from ..request import Headers
from ..stores.virtual_keys import PREFIX, KeyStore, VirtualKey
from .http import HttpRequest

__all__ = ["CREDENTIAL_HEADERS", "Caller", "Gate", "authenticate", "check_host", "refuse_bind"]

CREDENTIAL_HEADERS = frozenset(
    {"authorization", "x-api-key", "api-key", "x-goog-api-key", "x-pennyweight-key", "proxy-authorization", "cookie"}
)
"""Headers that never become part of a Request."""


class Caller(msgspec.Struct, frozen=True, eq=False):
    """Whose call it is, and the provider key or token that came with it."""

    tenant: str
    credential: Credential | None = None
    key: VirtualKey | None = None


class Gate:
    """The rules below for one configuration and its keys."""

    def __init__(self, config: Config, keys: KeyStore) -> None:
        self._keys = keys
        self._loopback_open = config.server.loopback_open
        self._allowed = frozenset(
            name.lower() for name in (*config.server.allowed_hosts, *config.server.allowed_origins)
        )
        self._welcome: set[tuple[str | None, str | None, str | None]] = set()  # what has passed: a few at most

    def check_host(self, request: HttpRequest) -> None:
        """Raises Forbidden for a Host or a page that is not ours. A call inside this process has neither."""
        if request.peer:
            fields = request.fields
            asked = (fields.get("host"), fields.get("origin"), fields.get("sec-fetch-site"))
            if asked not in self._welcome:
                check_host(*asked, allowed=self._allowed)
                if len(self._welcome) < _WELCOME:
                    self._welcome.add(asked)

    def admit(self, request: HttpRequest) -> tuple[str, Credential | None]:
        """The tenant and what the caller brought for the provider. Raises Unauthenticated, StoreError."""
        caller = self.caller(request)
        return caller.tenant, caller.credential

    def lasting(self, caller: Caller) -> bool:
        """Whether who comes with the same head again is the same caller: not with a key that may be revoked."""
        return self._loopback_open and caller.key is None

    def steady(self, request: HttpRequest) -> bool:
        """Whether `admit` would say the same of the same request at any time: no key is asked for that may be revoked,
        or be made."""
        near = not request.peer or is_loopback(request.peer)
        keyed = any(secret.startswith(PREFIX) for _, secret, _ in _offered(request.headers))
        return near and not keyed and (self._loopback_open or not request.peer)

    def viewer(self, request: HttpRequest) -> str | None:
        """Whose receipts the caller may see: its own tenant's, None for everybody's. Raises Unauthenticated."""
        caller = self.caller(request)
        return caller.key.name if caller.key is not None else None

    def caller(self, request: HttpRequest) -> Caller:
        """Raises Unauthenticated, StoreError."""
        near = not request.peer or is_loopback(request.peer)
        return authenticate(
            request.headers, self._keys, peer_is_loopback=near, loopback_open=self._loopback_open or not request.peer
        )

    @staticmethod
    def refuse_bind(config: Config, keys: KeyStore) -> None:
        """Raises ConfigError for an address that other machines can reach while there is no virtual key."""
        if not is_loopback(config.server.host):
            refuse_bind(config.server.host, keys_exist=keys.any())


def authenticate(headers: Headers, store: KeyStore, *, peer_is_loopback: bool, loopback_open: bool = True) -> Caller:
    """Whose call it is. Raises Unauthenticated, and StoreError when the keys cannot be read.

    A virtual key is taken as `Authorization: Bearer`, `x-api-key`, `api-key` or `x-pennyweight-key`, on every
    protocol; what other key comes beside it is the caller's own. A caller on loopback needs none while
    `loopback_open` or while there are none. From anywhere else a virtual key is needed always.
    """
    offered = _offered(headers)
    for _, secret, _ in offered:
        if secret.startswith(PREFIX):
            key = store.find(secret)
            if key is None:
                raise Unauthenticated(
                    "This Pennyweight key is unknown, revoked or expired. Ask for a new one: pennyweight keys add NAME."
                )
            return Caller(key.name, _credential(headers, offered), key)
    if not peer_is_loopback:
        raise Unauthenticated("A Pennyweight key is needed from another machine. Make one: pennyweight keys add NAME.")
    if not loopback_open and store.any():
        raise Unauthenticated(
            "A Pennyweight key is needed (server.loopback_open is false). Make one: pennyweight keys add NAME."
        )
    return Caller("local", _credential(headers, offered))


_WELCOME = 256
_KEYED = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key", "x-pennyweight-key"})


def _offered(headers: Headers) -> list[tuple[str, str, str]]:
    """Every key that came: its header, the key itself, and the header's whole value."""
    offered = []
    for name, value in [header for header in headers if header[0] in _KEYED]:
        secret = value.strip()
        if name == "authorization":
            scheme, _, token = secret.partition(" ")
            secret = token.strip() if scheme.lower() == "bearer" else ""
        if secret:
            offered.append((name, secret, value))
    return offered


_NO_KEYS = frozenset(
    {"dummy", "none", "null", "no-key", "not-needed", "unused", "placeholder", "pennyweight"}
    | {"sk-dummy", "sk-none", "sk-no-key-required", "sk-not-needed", "sk-placeholder"}
)
"""What people write where a client insists on a key."""


def _credential(headers: Headers, offered: list[tuple[str, str, str]]) -> Credential | None:
    """The caller's own provider key or subscription token, as it came."""
    for name, secret, value in offered:
        if name == "x-pennyweight-key" or secret.startswith(PREFIX) or secret.lower() in _NO_KEYS:
            continue
        chatgpt = secret.startswith("eyJ") and any(header == "chatgpt-account-id" for header, _ in headers)
        return Credential(name, value, subscription=chatgpt or secret.startswith("sk-ant-oat"))
    return None


def check_host(
    host: str | None, origin: str | None, sec_fetch_site: str | None, *, allowed: Iterable[str] = ()
) -> None:
    """Keeps web pages out: raises Forbidden for a Host that is a foreign name and for a foreign page's Origin.

    A page that rebinds its own name to 127.0.0.1 sends that name as Host; an address cannot be rebound. A browser
    tells the page's origin in Origin, which pages cannot forge. `allowed`: host names, or whole origins.
    """
    names = {name.lower() for name in allowed}
    if host is None or not _is_ours(_hostname(host), names):
        raise Forbidden(
            f"The Host {host!r} is not this gateway's. Use its address, or add the name to server.allowed_hosts."
        )
    if origin is not None and origin.lower() not in names:
        # Other schemes are desktop applications and editors; pages of the web cannot send them.
        scheme, _, rest = origin.lower().partition("://")
        if origin == "null" or (scheme in ("http", "https") and not _is_ours(_hostname(rest), names)):
            raise Forbidden(f"Pages of {origin!r} may not call this gateway. Add it to server.allowed_origins.")
    elif origin is None and sec_fetch_site == "cross-site":
        raise Forbidden("Pages of other sites may not call this gateway.")


def _hostname(host: str) -> str:
    """The name in a Host header, its port and brackets taken off."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_ours(name: str, allowed: set[str]) -> bool:
    name = name.lower()
    if name in allowed or is_loopback(name):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def refuse_bind(host: str, *, keys_exist: bool) -> None:
    """Raises ConfigError for an address that other machines can reach while there is no virtual key."""
    if not is_loopback(host) and not keys_exist:
        raise ConfigError(
            f"Refusing to listen on {host!r}: other machines could spend your money. "
            "Make a key first (pennyweight keys add NAME), or listen on 127.0.0.1."
        )
