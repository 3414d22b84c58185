"""Small values that every protocol says a little differently: data URLs, reasoning effort, ids of answers."""

from __future__ import annotations

import re

from .neutral import Document, Image, Losses, Param, Think

__all__ = ["adaptive", "data_url", "document_of", "effort", "image_of", "lose", "response_id", "split_data_url"]


def split_data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 data of a `data:` URL; None for any other."""
    found = re.match(r"data:([^;,]*)(?:;[^;,]*)*;base64,", url[:200])
    return (found.group(1), url[found.end() :]) if found else None


def data_url(part: Image | Document) -> str:
    return f"data:{part.media_type or 'application/octet-stream'};base64,{part.data}" if part.data else part.url


def image_of(url: str, at: str, *, detail: str = "", cache: object = None) -> Image:
    found = split_data_url(url)
    if found is None:
        return Image(at, url=url, detail=detail, cache=cache)
    return Image(at, found[0], found[1], detail=detail, cache=cache)


def document_of(
    data: str, at: str, *, name: str = "", file_id: str = "", url: str = "", cache: object = None
) -> Document:
    """`data`: a data URL, or bare base64 of a PDF as some clients send it."""
    found = split_data_url(data)
    media_type, base64 = found if found else ("application/pdf" if data else "", data)
    return Document(at, media_type, base64, "", url, file_id, name, cache)


def adaptive(model: str) -> bool:
    """Whether a Claude model decides itself how long to think (4.6 and later); older ones want a token budget."""
    found = re.search(r"(?:opus|sonnet|haiku|claude)-(\d+)(?:[-.](\d{1,2}))?(?!\d)", model)
    if found is None:
        return True
    return (int(found.group(1)), int(found.group(2) or 0)) >= (4, 6)


def effort(told: Param | None, thinking: Param | None) -> str:
    """One word for how much to reason, out of an effort or a thinking budget; "none" for not at all."""
    think: Think | None = thinking.value if thinking is not None else None
    if think is not None and think.mode == "disabled":
        return "none"
    if told is not None:
        return str(told.value)
    if think is not None and think.budget:
        return "low" if think.budget < 4096 else "medium" if think.budget < 16384 else "high"
    return "high"  # what a model does that decides for itself


def lose(name: str, param: Param, losses: Losses, reason: str) -> None:
    """Report a parameter, unless leaving it out means the same."""
    if name in _IMPLIED and param.value == _IMPLIED[name]:
        return
    losses.add(param.at, reason)


_IMPLIED: dict[str, object] = {
    "n": 1,
    "logprobs": False,
    "store": False,
    "include_usage": True,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "service_tier": "auto",
    "parallel": True,
    "truncation": "disabled",
    "verbosity": "medium",
}


def response_id(prefix: str, told: str) -> str:
    """An answer's id as a protocol writes it: the upstream's own behind the protocol's prefix."""
    return prefix + re.sub(r"^(chatcmpl-|resp_|msg_)", "", told)
