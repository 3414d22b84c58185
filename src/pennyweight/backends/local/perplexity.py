"""The perplexity of a model on a text, over llama-server's own HTTP: what a lower precision costs.

llama-server tells probabilities of tokens that it writes and none of a prompt's. So each token of the text is written
in its turn: a bias makes it certain, and the probability told is that from before the bias ("a simple softmax of the
logits", tools/server/README). With its prompt cached that is one step of the model a token, and exact.
Ollama takes no bias, so this cannot be asked of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from ...errors import BackendError
from .asking import Asker

__all__ = ["Measured", "compare", "measure", "perplexity"]


class Measured(msgspec.Struct, frozen=True):
    """logprobs: natural, of each token that was scored, in the text's order."""

    logprobs: tuple[float, ...]

    @property
    def perplexity(self) -> float:
        return perplexity(self.logprobs)


def perplexity(logprobs: Sequence[float]) -> float:
    """e to the mean surprise. Raises ValueError for no tokens."""
    if not logprobs:
        raise ValueError("No tokens were scored.")
    return math.exp(-sum(logprobs) / len(logprobs))


def compare(first: Measured, other: Measured) -> tuple[float, float] | None:
    """How much higher the other's perplexity is on the same tokens, as a share, and the standard error of that share;
    None where the tokens differ in number."""
    if len(first.logprobs) != len(other.logprobs) or len(first.logprobs) < 2:
        return None
    gaps = [a - b for a, b in zip(first.logprobs, other.logprobs, strict=True)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1))
    ratio = math.exp(mean)
    return ratio - 1, ratio * deviation / math.sqrt(len(gaps))


class _Tokens(msgspec.Struct, frozen=True):
    tokens: list[int]


class _Scored(msgspec.Struct, frozen=True):
    id: int
    logprob: float


class _Completion(msgspec.Struct, frozen=True):
    completion_probabilities: list[_Scored]


async def measure(
    ask: Asker,
    text: str,
    *,
    at: str = "",
    tokens: int = 1000,
    window: int = 512,
    progress: Callable[[int], None] = lambda _done: None,
) -> Measured:
    """Score the first `tokens` tokens of a text, in windows of `window`, the first token of each unscored.

    at: the path in front of the server's own (llama-swap's "/upstream/MODEL"). Raises Unreachable, and BackendError
    for a server that does not tell, or a text of fewer than two tokens.
    """
    told = await ask.call(f"{at}/tokenize", {"content": text, "add_special": False}, _Tokens, wait_s=_STEP_S)
    if told is None:
        raise BackendError(f"{ask.root.authority} does not tokenize: only llama-server can measure a perplexity.")
    ids = told.tokens[: tokens + 1]
    if len(ids) < 2:
        raise BackendError("The text has fewer than two tokens. Name a longer one.")
    scored: list[float] = []
    for start in range(0, len(ids) - 1, window):
        part = ids[start : start + window + 1]
        for place in range(1, len(part)):
            scored.append(await _score(ask, at, part[:place], part[place]))
            progress(len(scored))
    return Measured(tuple(scored))


async def _score(ask: Asker, at: str, before: list[int], token: int) -> float:
    body = {
        "prompt": before,
        "n_predict": 1,
        "n_probs": 1,
        "temperature": 0,
        "logit_bias": [[token, _CERTAIN]],
        "cache_prompt": True,
    }
    found = await ask.call(f"{at}/completion", body, _Completion, wait_s=_STEP_S)
    if found is None or not found.completion_probabilities or found.completion_probabilities[0].id != token:
        raise BackendError(f"{ask.root.authority} does not tell the probability of a token that it is made to write.")
    return found.completion_probabilities[0].logprob


_CERTAIN = 1e4  # above any logit
_STEP_S = 120.0  # the first may load the model
