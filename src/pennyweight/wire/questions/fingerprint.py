"""What must be equal before two calls may share an answer: everything but the newest user text.

The text's place is marked by the structure of what is hashed, each piece behind its length, and not by a word put in
its stead: a prompt cannot imitate it.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from ...call import Call
from ..sameness import origin
from .question import Question

__all__ = ["NOT_IN_FINGERPRINT", "fingerprint"]

NOT_IN_FINGERPRINT = frozenset({"stream", "stream_options"})
"""Fields that say how an answer travels, not what it says. All others count, known or not."""


def fingerprint(call: Call, question: Question) -> str:
    """A name in hexadecimal digits for all calls that differ from this one in their newest user text alone.

    It covers the tenant, the caller's own credential, the door, the target, the headers that can change an answer, the
    optimize level and every field of the body. Values keep their bytes: two spellings of one number are two kinds of
    call. Members may stand in any order at the top and in the newest message, nowhere else.
    """
    pieces: list[bytes] = []

    def take(tag: bytes, piece: bytes | msgspec.Raw) -> None:
        raw = bytes(piece)
        pieces.append(b"%b%d:" % (tag, len(raw)))
        pieces.append(raw)

    take(b"origin", origin(call, call.original))
    take(b"level", call.optimize.encode())
    for name in sorted(question.fields.keys() - NOT_IN_FINGERPRINT):
        if name != question.field:
            take(b"name", name.encode("utf-8", "surrogatepass"))
            take(b"value", question.fields[name])
    take(b"field", question.field.encode())
    take(b"place", msgspec.json.encode(question.place))
    for item in question.before:
        take(b"item", item)
    for members in question.around:
        take(b"members", b"%d" % len(members))
        for name in sorted(members):
            take(b"name", name.encode("utf-8", "surrogatepass"))
            take(b"value", members[name])
    return blake2b(b"".join(pieces), digest_size=16).hexdigest()
