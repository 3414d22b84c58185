"""The providers we know by name, and what file and environment make of them.

Addresses are those of the providers' own API pages, as of 2026. A provider's root and the path of each protocol
under it are kept apart, so that `<NAME>_BASE_URL` moves all of them together.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from ..errors import ConfigError
from ..request import Headers, Wire
from .settings import Auth, Provider, ProviderTable, Secret, Timeouts

__all__ = ["ALWAYS", "KNOWN", "Known", "build_one", "is_loopback", "plain_http"]

_CHAT, _RESPONSES, _MESSAGES, _OLLAMA = (
    Wire.OPENAI_CHAT,
    Wire.OPENAI_RESPONSES,
    Wire.ANTHROPIC_MESSAGES,
    Wire.OLLAMA,
)


class Known(msgspec.Struct, frozen=True):
    """A provider we know: its root, the path under it that stands for our /v1 (or /api), its key's variable.

    The first of `paths` is the one that `<NAME>_BASE_URL` is about.
    """

    root: str
    paths: dict[Wire, str]
    key: str
    prices: str
    auth: Auth = "bearer"


KNOWN: Mapping[str, Known] = {
    "openai": Known("https://api.openai.com", {_CHAT: "/v1", _RESPONSES: "/v1"}, "OPENAI_API_KEY", "openai"),
    "anthropic": Known(
        "https://api.anthropic.com", {_MESSAGES: "/v1"}, "ANTHROPIC_API_KEY", "anthropic", auth="x-api-key"
    ),
    "openrouter": Known(
        "https://openrouter.ai/api",
        {_CHAT: "/v1", _RESPONSES: "/v1", _MESSAGES: "/v1"},
        "OPENROUTER_API_KEY",
        "openrouter",
    ),
    "moonshot": Known(
        "https://api.moonshot.ai", {_CHAT: "/v1", _MESSAGES: "/anthropic/v1"}, "MOONSHOT_API_KEY", "moonshotai"
    ),
    "deepseek": Known(
        "https://api.deepseek.com", {_CHAT: "/v1", _MESSAGES: "/anthropic/v1"}, "DEEPSEEK_API_KEY", "deepseek"
    ),
    "dashscope": Known(
        "https://dashscope-intl.aliyuncs.com",
        {_CHAT: "/compatible-mode/v1", _MESSAGES: "/apps/anthropic/v1"},
        "DASHSCOPE_API_KEY",
        "dashscope",
    ),
    "minimax": Known(
        "https://api.minimax.io", {_CHAT: "/v1", _MESSAGES: "/anthropic/v1"}, "MINIMAX_API_KEY", "minimax"
    ),
    "groq": Known("https://api.groq.com/openai", {_CHAT: "/v1", _RESPONSES: "/v1"}, "GROQ_API_KEY", "groq"),
    "mistral": Known("https://api.mistral.ai", {_CHAT: "/v1"}, "MISTRAL_API_KEY", "mistral"),
    "xai": Known("https://api.x.ai", {_CHAT: "/v1", _RESPONSES: "/v1"}, "XAI_API_KEY", "x-ai"),
    "together": Known("https://api.together.xyz", {_CHAT: "/v1"}, "TOGETHER_API_KEY", "together"),
    "fireworks": Known("https://api.fireworks.ai/inference", {_CHAT: "/v1"}, "FIREWORKS_API_KEY", "fireworks"),
    "gemini": Known("https://generativelanguage.googleapis.com", {_CHAT: "/v1beta/openai"}, "GEMINI_API_KEY", "google"),
    # Ollama's own endpoints come first: num_ctx and keep_alive exist only there.
    "ollama": Known("http://127.0.0.1:11434", {_OLLAMA: "/api", _CHAT: "/v1"}, "OLLAMA_API_KEY", "", auth="none"),
}

ALWAYS = ("openai", "anthropic", "ollama")  # exist without a key: the natural providers of the four protocols


def build_one(name: str, table: ProviderTable | None, env: Mapping[str, str]) -> Provider | None:
    """The provider of that name as file and environment make it; None when neither speaks of it. Raises ConfigError."""
    provider = _provider(name, table, env)
    return provider if provider.configured or name in ALWAYS else None


def _provider(name: str, table: ProviderTable | None, env: Mapping[str, str]) -> Provider:
    known = KNOWN.get(name)
    written = table or ProviderTable()
    base_url, named_by = _base_url(name, written, env)
    urls = _urls(name, known, written, base_url, named_by)
    keys = _keys(name, known, written, env)
    home = {wire: known.root + path for wire, path in known.paths.items()} if known else {}
    moved = any(url != home.get(wire) for wire, url in urls.items())
    local = all(is_loopback(url) for url in urls.values())
    auth: Auth = written.auth or (known.auth if known else "bearer")
    if auth == "none" and keys:
        auth = "bearer"
    return Provider(
        name=name,
        urls=urls,
        keys=keys,
        auth=auth,
        headers=_headers(name, written),
        timeouts=written.timeouts or Timeouts(),
        max_concurrency=written.max_concurrency or (2 if name == "ollama" and local else None),
        prices=written.prices if written.prices is not None else (known.prices if known else name),
        num_ctx=written.num_ctx,
        keep_alive=written.keep_alive,
        usd_per_hour=written.usd_per_hour,
        local=(name == "ollama" and local) or written.usd_per_hour is not None,
        moved=moved,
        configured=bool(keys) or base_url is not None or table is not None,
    )


def _base_url(name: str, written: ProviderTable, env: Mapping[str, str]) -> tuple[str | None, str]:
    """The address that was set and what set it; the file goes before the environment."""
    if written.base_url is not None:
        return _address(written.base_url, f"providers.{name}.base_url"), f"providers.{name}.base_url"
    variable = "OLLAMA_HOST" if name == "ollama" else f"{name.upper().replace('-', '_')}_BASE_URL"
    value = env.get(variable, "").strip()
    if not value:
        return None, ""
    if name == "ollama":
        value = _ollama_host(value)
    return _address(value, variable), variable


def _ollama_host(value: str) -> str:
    """OLLAMA_HOST may lack scheme and port, and may be the address a server listens on (0.0.0.0)."""
    bare = "://" not in value
    parts = urlsplit(f"http://{value}" if bare else value)
    host = parts.hostname or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        port = parts.port or (11434 if bare else {"http": 80, "https": 443}.get(parts.scheme, 11434))
    except ValueError as error:
        raise ConfigError(f"OLLAMA_HOST {value!r}: {error}. Use host:port, such as 127.0.0.1:11434.") from None
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}:{port}{parts.path}"


def _headers(provider: str, written: ProviderTable) -> Headers:
    """Raises ConfigError, which shows no value: it may be a key."""
    headers = tuple((name.lower(), value) for name, value in (written.headers or {}).items())
    for name, value in headers:
        if _TOKEN.fullmatch(name) is None or name in _FRAMING:
            raise ConfigError(f"providers.{provider}.headers has {name[:80]!r}, which cannot be added. Leave it out.")
        if _CARRIED.fullmatch(value) is None:
            raise ConfigError(
                f"providers.{provider}.headers.{name} has a character that no header can carry. Copy its value again."
            )
    return headers


_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9a-z]+")
_CARRIED = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_FRAMING = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "expect", "te", "trailer", "upgrade"}
)


def _address(value: str, name: str) -> str:
    """`value` without a slash at its end. Raises ConfigError when it is no http(s) address or carries a password."""
    remedy = "Give a whole address, such as https://api.example.com/v1."
    shown = re.sub(r"(//)[^/@]*@", r"\1…@", value)
    try:
        parts = urlsplit(value.strip())
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"{name} {shown!r} is no address: {error}. {remedy}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{name} {shown!r} is no http(s) address. {remedy}")
    if not value.strip().isprintable() or " " in value.strip():
        raise ConfigError(f"{name} {shown!r} has a character that no address can have. {remedy}")
    if parts.username or parts.password:
        raise ConfigError(f"{name} carries a user name or password. Put the key into api_key instead.")
    if parts.query or parts.fragment:
        raise ConfigError(f"{name} {value!r} carries a query or a fragment. {remedy}")
    return value.strip().rstrip("/")


def _urls(
    name: str, known: Known | None, written: ProviderTable, base_url: str | None, named_by: str
) -> dict[Wire, str]:
    if written.urls:
        return {wire: _address(url, f"providers.{name}.urls.{wire}") for wire, url in written.urls.items()}
    paths = dict(known.paths) if known else {_CHAT: "/v1"}
    if written.wires:
        paths = {wire: paths.get(wire, _OLLAMA_PATH if wire is _OLLAMA else "/v1") for wire in written.wires}
    if base_url is None:
        if known is None:
            raise ConfigError(f'providers.{name} has no base_url. Give one: base_url = "https://…/v1".')
        return {wire: known.root + path for wire, path in paths.items()}
    return _moved(paths, base_url)


_OLLAMA_PATH = "/api"


def _moved(paths: dict[Wire, str], base_url: str) -> dict[Wire, str]:
    """Every protocol's address under an address that was given for the first of them.

    With its path at the end ("…/v1") or with no path at all the whole provider moves. Any other path is taken as the
    SDKs take it: Anthropic's and Ollama's is a root, an OpenAI-compatible one is where /chat/completions is; then
    only protocols that share that path are known to be there.
    """
    first, path = next(iter(paths.items()))
    if base_url.endswith(path):
        root = base_url[: -len(path)]
    elif first in (_MESSAGES, _OLLAMA) or not urlsplit(base_url).path:
        root = base_url
    elif base_url.endswith("/v1"):  # "/v1" at a mirror of a provider whose own path is longer
        root = base_url[: -len("/v1")]
        return dict.fromkeys(paths, root + "/v1")
    else:
        return {wire: base_url for wire, p in paths.items() if p == path}
    return {wire: root + p for wire, p in paths.items()}


def _keys(name: str, known: Known | None, written: ProviderTable, env: Mapping[str, str]) -> tuple[Secret, ...]:
    """Keys in the file go before keys in the environment. Several are separated by commas."""
    values: list[str] = list(written.api_keys or ())
    if written.api_key is not None:
        values.append(written.api_key)
    if written.api_key_env is not None:
        value = env.get(written.api_key_env, "")
        if not value.strip():
            raise ConfigError(
                f"providers.{name}.api_key_env names {written.api_key_env!r}, which is not set. "
                f"Run: export {written.api_key_env}=…"
            )
        values.append(value)
    if not values and known is not None:
        values.append(env.get(known.key, ""))
    keys = [key.strip() for value in values for key in value.split(",")]
    for key in keys:
        if not key.isascii() or any(c.isspace() or not c.isprintable() for c in key):
            raise ConfigError(f"A key of providers.{name} has a character that no header can carry. Copy it again.")
    return tuple(Secret(key) for key in dict.fromkeys(keys) if key)


def is_loopback(url: str) -> bool:
    """Whether an address or a host name is this machine."""
    if url in ("127.0.0.1", "::1", "localhost"):  # nearly every request asks this
        return True
    host = urlsplit(url).hostname if "://" in url else url.strip("[]")
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return (mapped or address).is_loopback
    except ValueError:
        return False


def plain_http(url: str) -> bool:
    """Whether calls to that address leave this machine unencrypted."""
    return url.startswith("http://") and not is_loopback(url)
