"""An answer's signs of being right, as numbers: what acceptors are trained on and scores are made of.

Every feature is in about [-1, 1] or [0, 1], and 0 where there is nothing to tell, so that weights can be read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from ...call import Call
from .agreement import Agreement, agree
from .checks import complaints, gives_up, made_up, parts_checked
from .entropy import Sureness
from .said import Asked, Said

__all__ = ["FEATURES", "Familiar", "features", "names_fit", "off_topic"]

FEATURES = (
    "agrees",  # with the peer
    "disagrees",
    "alike",  # the share of calls and arguments that both have
    "no_call",  # tools may be called, and none is
    "peer_no_call",
    "complaints",  # what verifiers found
    "peer_complaints",
    "made_up",  # share of arguments that stand nowhere in the prompt
    "peer_made_up",
    "names_fit",  # share of the words in the called tools' names that are in the prompt
    "calls",  # how many
    "checked",  # something of it could be verified
    "gives_up",
    "length",  # of the text
    "offered",  # how many tools there were to choose from
    "sure",  # 1 - the mean entropy of its tokens, against what is usual; 0 where it is not known
    "margin",  # of the least sure tokens
    "sure_known",
    "familiar",  # how likely the prompt is to a local model, where one tells
)


Familiar = Callable[[Call], float]
"""How likely a prompt is to a model on this machine, in [-1, 1]: 1 - its mean surprise per token in nats / 2, at least
-1; 0 where nobody can tell. A prior of how hard a call is, before any answer. Never waits, and never raises."""


def features(
    said: Said,
    asked: Asked,
    *,
    peer: Said | None = None,
    sure: Sureness | None = None,
    familiar: float = 0.0,
    both: Agreement | None = None,
    found: Sequence[str] | None = None,
) -> tuple[float, ...]:
    """In the order of FEATURES. peer: what a second model said. familiar: see `Familiar`. both, found: where they are
    known already."""
    if both is None:
        both = agree(said, peer, asked) if peer is not None else Agreement(None, "text")
    if found is None:
        found = complaints(said, asked)
    theirs = complaints(peer, asked) if peer is not None else []
    may = asked.may_call and bool(asked.tools)
    values = {
        "agrees": both.same is True,
        "disagrees": both.same is False,
        "alike": both.share if peer is not None else 0.0,
        "no_call": may and not said.calls,
        "peer_no_call": may and peer is not None and not peer.calls,
        "complaints": min(len(found), 3) / 3,
        "peer_complaints": min(len(theirs), 3) / 3,
        "made_up": _most_made_up(said, asked),
        "peer_made_up": _most_made_up(peer, asked) if peer is not None else 0.0,
        "names_fit": names_fit(said, asked),
        "calls": min(math.log2(1 + len(said.calls)), 4) / 4,
        "checked": parts_checked(said, asked) > 0,
        "gives_up": gives_up(said.text),
        "length": min(math.log2(1 + len(said.text) / 100), 8) / 8,
        "offered": min(math.log2(1 + len(asked.tools)), 8) / 8,
        "sure": sure.sure if sure is not None else 0.0,
        "margin": sure.margin if sure is not None else 0.0,
        "sure_known": sure is not None,
        "familiar": familiar,
    }
    return tuple(float(values[name]) for name in FEATURES)


def _most_made_up(said: Said, asked: Asked) -> float:
    return max((made_up(call, asked) for call in said.calls), default=0.0)


def names_fit(said: Said, asked: Asked) -> float:
    """Of the words in the names of the tools that are called, the share that begins a word of the prompt; 0 without."""
    words = [word for call in said.calls for word in _words(call.name)]
    prompt = {word[:5] for word in _words(asked.prompt)}
    return sum(word[:5] in prompt for word in words) / len(words) if words else 0.0


def off_topic(said: Said, asked: Asked) -> bool:
    """Whether the answer calls the only tool that was offered, and no word of its name is in the prompt. Models like to
    use what they are given, and two of them do so together. Within a tool loop the prompt is no longer what is done."""
    if not said.calls or asked.in_loop or len(asked.tools) != 1 or len(_words(asked.prompt)) < _FEW_WORDS:
        return False
    return names_fit(said, asked) == 0.0


_FEW_WORDS = 3  # in Latin letters: names of tools are


def _words(text: str) -> Sequence[str]:
    return [word.lower() for word in _WORD.findall(text) if word.lower() not in _EMPTY]


_WORD = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{3,}")
_EMPTY = frozenset(("get", "set", "calculate", "find", "the", "and", "of", "to", "for", "by", "in", "is", "search"))
