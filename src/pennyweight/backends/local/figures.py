"""What calls teach of a local model: how long it loads, how fast it writes, how long an answer takes."""

from __future__ import annotations

import msgspec

from ...request import Reply

__all__ = ["Figures", "learnt"]

_WEIGHT = 0.3  # of the newest call: a machine's load changes within a few calls


class Figures(msgspec.Struct, frozen=True):
    """None: no call has told yet."""

    load_s: float | None = None
    open_s: float | None = None  # to the first byte, the model being loaded
    call_s: float | None = None  # a whole answer
    tokens_per_s: float | None = None  # of output


class _Whole(msgspec.Struct, frozen=True):
    """Of a whole body: Ollama's durations in nanoseconds (docs.ollama.com/api/generate), llama-server's timings."""

    load_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    timings: _Timings | None = None


class _Timings(msgspec.Struct, frozen=True):
    predicted_per_second: float = 0.0


_whole = msgspec.json.Decoder(_Whole)


def learnt(before: Figures, reply: Reply, *, loaded: bool, opened_s: float, ended_s: float) -> Figures:
    """The figures after one more answer. opened_s, ended_s: since it was asked, to its head and to its end."""
    whole = _read(reply)
    load_s, open_s = before.load_s, before.open_s
    if whole is not None and whole.load_duration > 0 and not loaded:
        load_s = _mean(load_s, whole.load_duration / 1e9)
    elif whole is None and loaded:
        open_s = _mean(open_s, opened_s)
    elif whole is None:
        load_s = _mean(load_s, max(opened_s - (open_s or 0.0), 0.0))
    written = _tokens_per_s(reply, whole, ended_s - opened_s)
    return Figures(
        load_s,
        open_s,
        _mean(before.call_s, ended_s) if loaded else before.call_s,
        before.tokens_per_s if written is None else _mean(before.tokens_per_s, written),
    )


def _read(reply: Reply) -> _Whole | None:
    """None for a stream."""
    if reply.content is None:
        return None
    try:
        return _whole.decode(reply.content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Whole()


def _tokens_per_s(reply: Reply, whole: _Whole | None, writing_s: float) -> float | None:
    if whole is not None:
        if whole.eval_count > 0 and whole.eval_duration > 0:
            return whole.eval_count / whole.eval_duration * 1e9
        timings = whole.timings
        return timings.predicted_per_second if timings is not None and timings.predicted_per_second > 0 else None
    usage = reply.done.usage if reply.done else None
    if usage is None or usage.counted or usage.output_tokens < _FEW_TOKENS or writing_s <= 0:
        return None
    return usage.output_tokens / writing_s


def _mean(before: float | None, new: float) -> float:
    return new if before is None else before + _WEIGHT * (new - before)


_FEW_TOKENS = 8  # fewer come in one chunk, and tell nothing of speed
