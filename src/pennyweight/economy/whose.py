"""Whose call it is, as far as caches and habits care: names that no two callers share. Pure."""

from __future__ import annotations

import hashlib

from ..call import Call

__all__ = ["account_of", "agent_of", "key_of", "session_of"]


def session_of(call: Call) -> str:
    """The session's name over all tenants; "" without a session."""
    return f"{call.identity.tenant}\0{call.identity.session}" if call.identity.session else ""


def agent_of(call: Call) -> str:
    identity = call.identity
    client = call.original.header("user-agent") or ""
    name = identity.agent or client.partition("/")[0][:40]
    return f"{identity.tenant}\0{name}\0{identity.housekeeping or ''}"


def account_of(call: Call) -> str:
    """Whose cache it is: "" for the gateway's own key; callers with keys of their own have one each. The tokens of a
    plan change every few hours while its cache stays, so there it is the tenant's."""
    credential, tenant = call.credential, call.identity.tenant
    if credential is None:
        return ""
    secret = "" if credential.subscription else credential.secret
    return hashlib.blake2b(f"{tenant}\0{secret}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def key_of(session: str, start: bytes) -> bytes:
    return hashlib.blake2b(session.encode("utf-8", "surrogatepass") + b"\0" + start, digest_size=16).digest()
