"""The key of a call: every field of its body, and all beside the body that an answer depends on."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from ...call import Call
from ...kept import entry_key
from ...wire.sameness import origin

__all__ = ["NOT_IN_KEY", "cache_key"]

NOT_IN_KEY = frozenset({"stream", "stream_options"})
"""Fields that do not enter the key: they say how an answer travels, not what it says. All others do, known or not."""


def cache_key(call: Call, fields: Mapping[str, msgspec.Raw]) -> str:
    """The key of a call whose body has these top-level fields.

    Taken from the call as it came, because what later optimizers do to it is not known when this one is asked. Members
    are sorted at the top only: the order of the properties in a JSON schema decides the order in which a model writes
    them, so bodies that differ in it may be answered differently. Values keep their bytes, big numbers included, and so
    do names that come twice within them.
    """
    pieces: list[bytes | msgspec.Raw] = [
        origin(call, call.original),
        call.optimize.encode(),  # an answer given under "max" may come from a rewritten prompt
    ]
    for name in sorted(fields):
        if name not in NOT_IN_KEY:
            # A name in quotes, and then one JSON value: nothing can be taken for something else.
            pieces += (msgspec.json.encode(name), fields[name])
    digest = blake2b(b"".join(pieces), digest_size=32).hexdigest()
    return entry_key("exact", call.identity.tenant, digest, call.target.model)
