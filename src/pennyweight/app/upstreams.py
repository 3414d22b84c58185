"""Providers as backends: addresses, keys, proxies and time limits as configured."""

from __future__ import annotations

from functools import partial

from ..backends.rotation import Keys
from ..backends.transport import Http1, origin
from ..backends.upstream import Upstream
from ..config import KNOWN, Provider, Proxies
from ..protocols import Clock

__all__ = ["is_theirs", "outward", "upstream"]


def upstream(provider: Provider, proxies: Proxies, clock: Clock) -> Upstream:
    urls = {wire: origin(url) for wire, url in provider.urls.items()}
    transport = outward(
        proxies,
        connect_timeout_s=provider.timeouts.connect_s,
        read_timeout_s=provider.timeouts.first_byte_s,
        chunk_timeout_s=provider.timeouts.between_chunks_s,
    )
    hint = None
    if not provider.configured and provider.auth != "none":
        variable = f"{provider.name.upper()}_API_KEY"
        hint = f"Set {variable} where the gateway runs, or send a key of your own."
    made = partial(Upstream, provider.name, urls, transport, clock=clock, headers=provider.headers)
    if not provider.keys:
        return made(key_hint=hint, takes=lambda secret: is_theirs(provider, secret))
    if len(provider.keys) == 1:  # nothing to choose from, whatever became of calls before
        only = provider.keys[0].reveal()
        return made(auth=provider.auth, pick_key=lambda _call: only)
    keys = Keys([key.reveal() for key in provider.keys], clock)

    def report(key: str, status: int) -> None:
        if status < 400:
            keys.answered(key)
        else:
            keys.failed(key, status)

    return made(
        auth=provider.auth, pick_key=lambda call: keys.pick(call.identity.session or call.id), report_key=report
    )


def outward(
    proxies: Proxies, *, connect_timeout_s: float = 10.0, read_timeout_s: float, chunk_timeout_s: float | None = None
) -> Http1:
    """A transport by the configured proxies."""
    return Http1(
        connect_timeout_s=connect_timeout_s,
        read_timeout_s=read_timeout_s,
        chunk_timeout_s=chunk_timeout_s,
        proxies={scheme: url.reveal() for scheme, url in proxies.urls.items()},
        no_proxy=proxies.direct,
    )


def is_theirs(provider: Provider, secret: str) -> bool:
    """Whether a caller's own key can be one of this provider's: Anthropic's tell themselves, and go nowhere else.

    Who answers at a moved address is the operator's business.
    """
    return provider.moved or provider.name not in KNOWN or (provider.name == "anthropic") == ("sk-ant-" in secret)
