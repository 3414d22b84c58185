"""What one call sent, as far as a provider's prompt cache cares: its prefix chain and what else decides a hit.

No text is in it. `request` may be held beside it for as long as two calls are compared, to say what the difference is.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ...call import Identity, Target
from ...errors import BadRequest
from ...money import PicoUSD, Price, Rates, factor_at, rates_for, whole
from ...prefix import Segment, items
from ...request import Request, Usage, Wire

__all__ = ["Pricing", "Sent", "Story", "client_of", "is_whole", "name_of", "pricing", "sent", "text_of", "tool_names"]


class Story(msgspec.Struct, frozen=True):
    """Of a call in its conversation. `shared_tokens`: of its prompt, that had been sent before; `marked`: where the
    last cache mark stood, of it or of the calls before it; "" where there never was one."""

    shared_tokens: float = 0.0
    marked: str = ""


_NO_STORY = Story()


class Sent(msgspec.Struct, frozen=True, kw_only=True, dict=True, eq=False):
    """One call. `usage`: as the provider billed it, or a simulation of that."""

    call_id: str
    at: float  # unix seconds
    tenant: str
    session: str
    provider: str
    model: str  # as sent
    wire: Wire  # that the provider is asked over
    chain: tuple[Segment, ...]
    usage: Usage
    housekeeping: str = ""
    client: str = ""  # see client_of
    tools: tuple[str, ...] = ()  # names, in the order sent
    bound: bytes = b""  # tool_choice and thinking, where the cached messages hang on them
    betas: str = ""  # anthropic-beta
    cache_key: str = ""  # prompt_cache_key
    retention: str = ""  # prompt_cache_retention
    took_s: float = 0.0  # until the answer began: what was sent meanwhile could not read this prompt
    subscription: bool = False  # a plan: metered in tokens, not in dollars
    request: Request | None = None

    @property
    def story(self) -> Story:
        """What the calls before it left to know; set once by whoever follows the conversation."""
        found: Story = self.__dict__.get("_story", _NO_STORY)
        return found

    def tell(self, story: Story) -> None:
        self.__dict__["_story"] = story

    @property
    def size_bytes(self) -> int:
        """Of the text that is held."""
        return len(self.request.raw) if self.request is not None else 0

    def let_go(self) -> None:
        """Forget the text."""
        msgspec.structs.force_setattr(self, "request", None)

    @property
    def ends(self) -> list[float]:
        """Tokens of the prompt up to each segment and with it, in the provider's count; one more than segments.

        Estimated between the points that the bill tells: the end, and the last mark (what was read and written).
        """
        known: list[float] | None = self.__dict__.get("_ends")
        if known is None:
            known = self.__dict__["_ends"] = _ends(self.chain, self.usage)
        return known


def _ends(chain: Sequence[Segment], usage: Usage) -> list[float]:
    counted = bool(chain) and chain[-1].upto > 0
    raw = [0.0]
    for segment in chain:
        raw.append(float(segment.upto) if counted else raw[-1] + segment.size_bytes)
    points = [(0, 0.0)]
    cached = usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    last = max((index for index, segment in enumerate(chain) if segment.mark), default=-1)
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    if last >= 0 and written and cached < usage.input_tokens:
        points.append((last + 1, float(cached)))
    points.append((len(chain), float(usage.input_tokens)))
    found = [0.0] * len(raw)
    for (start, below), (stop, above) in itertools.pairwise(points):
        span = raw[stop] - raw[start]
        for index in range(start, stop + 1):
            share = (raw[index] - raw[start]) / span if span else 1.0
            found[index] = below + (above - below) * share
    return found


Pricing = Callable[[Sent], Rates | None]
"""The rates that a call was billed at; None: no price is known."""


def pricing(price_of: Callable[[str, str, float], Price | None]) -> Pricing:
    """Rates by provider, model and unix time, bands, tiers and the hour of the day included."""

    def rates(of: Sent) -> Rates | None:
        price = None if of.subscription else price_of(of.provider, of.model, of.at)
        if price is None:
            return None
        found = rates_for(price, of.usage.input_tokens, of.usage.tier)
        factor = factor_at(price, of.at, of.usage.tier)
        if factor == 1:
            return found
        return Rates(
            input=found.input * factor,
            output=found.output * factor,
            cache_read=found.read * factor,
            cache_write_5m=found.write_5m * factor,
            cache_write_1h=found.write_1h * factor,
        )

    return rates


def prompt_cost(usage: Usage, rates: Rates) -> PicoUSD:
    """What the prompt alone was billed."""
    return whole(
        usage.uncached_tokens * rates.input
        + usage.cache_read_tokens * rates.read
        + usage.cache_write_5m_tokens * rates.write_5m
        + usage.cache_write_1h_tokens * rates.write_1h
    )


def sent(
    request: Request,
    *,
    call_id: str,
    at: float,
    identity: Identity,
    target: Target,
    usage: Usage,
    chain: tuple[Segment, ...],
    original: Request | None = None,
    texts: Request | None = None,
    took_s: float = 0.0,
    names: Callable[[Request, tuple[Segment, ...]], tuple[str, ...]] | None = None,
    subscription: bool = False,
) -> Sent:
    """The fingerprint of a request. chain: its own (see `prefix.Blocks`). original: as the client wrote it, which tells
    the client. texts: one with the same texts in the same places, to be held in its place. names: of its tools, for
    callers that remember them. Raises BadRequest."""
    envelope = request.envelope
    bound = b""
    if request.wire is Wire.ANTHROPIC_MESSAGES:
        bound = b"\0".join(b"" if raw is None else bytes(raw) for raw in (envelope.tool_choice, envelope.thinking))
    return Sent(
        call_id=call_id,
        at=at,
        tenant=identity.tenant,
        session=identity.session,
        provider=target.provider,
        model=target.model,
        wire=target.wire,
        chain=chain,
        usage=usage,
        housekeeping=identity.housekeeping or "",
        client=client_of(original or request),
        tools=tool_names(request) if names is None else names(request, chain),
        bound=bound,
        betas=request.header("anthropic-beta") or "",
        cache_key=envelope.prompt_cache_key or "",
        retention=_retention(request) if target.wire is not Wire.ANTHROPIC_MESSAGES else "",
        took_s=took_s,
        subscription=subscription,
        request=Request(request.wire, (texts or request).raw),  # without what was decoded of it, which may be large
    )


_RETENTION = re.compile(rb'"prompt_cache_retention"\s*:\s*"(\w+)"')


def _retention(request: Request) -> str:
    """Clients write it before the conversation or after it, so both ends are looked at."""
    raw = request.raw
    if len(raw) > 2 * _EDGE_BYTES:
        raw = raw[:_EDGE_BYTES] + raw[-_EDGE_BYTES:]
    found = _RETENTION.search(raw)
    return found[1].decode() if found else ""


_EDGE_BYTES = 4_096
_ELSEWHERE = re.compile(rb'"(?:previous_response_id|conversation)"\s*:\s*["{]')


def is_whole(request: Request) -> bool:
    """Whether the body is the whole prompt: one that goes on with what the provider keeps is only its end."""
    if request.wire is not Wire.OPENAI_RESPONSES:
        return True
    raw = request.raw
    return not _ELSEWHERE.search(raw[:_EDGE_BYTES]) and not _ELSEWHERE.search(raw[-_EDGE_BYTES:])


# --- who wrote it -------------------------------------------------------------------------------------------

_AGENTS = (
    ("claude-cli", "claude-code"),
    ("codex", "codex"),
    ("opencode", "opencode"),
    ("langchain-anthropic", "langchain"),
    ("pydantic-ai", "pydantic-ai"),
    ("litellm", "litellm"),
    ("anthropic/python", "anthropic-sdk"),
    ("anthropic/js", "anthropic-sdk"),
    ("ai-sdk", "vercel-ai-sdk"),
    ("agents/python", "openai-agents"),
)


def client_of(request: Request) -> str:
    """The program that wrote a request, by what it sends: the name that `connect` and the advice know; "" unknown."""
    if request.header("x-clawrouter-client") == "openclaw":
        return "openclaw"
    if request.header("x-claude-code-session-id"):
        return "claude-code"
    agent = (request.header("user-agent") or "").lower()
    for sign, name in _AGENTS:
        if sign in agent:
            return name
    try:
        envelope = request.envelope
    except BadRequest:
        return ""
    head: Any = envelope.system or envelope.instructions
    if head is None:
        head = envelope.messages[0] if envelope.messages else envelope.input
    text = b"" if head is None else bytes(memoryview(head)[:4096]).lower()
    if b"openclaw" in text:
        return "openclaw"
    if b"search/replace" in text or b"act as an expert software developer" in text:
        return "aider"
    return "openai-sdk" if agent.startswith("openai/") else ""


# --- what stands where --------------------------------------------------------------------------------------

_any = msgspec.json.Decoder()


def tool_names(request: Request) -> tuple[str, ...]:
    return tuple(_tool_name(bytes(raw)) for raw in request.envelope.tools or ())


def _tool_name(raw: bytes) -> str:
    try:
        tool = _any.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    if not isinstance(tool, dict):
        return ""
    function = tool.get("function")
    name = tool.get("name") or (function.get("name") if isinstance(function, dict) else None) or tool.get("type")
    return name if isinstance(name, str) else ""


def name_of(of: Sent, place: int) -> str:
    """A segment as people find it: "tool exec", "system[1]", "messages[6] (user)"; "the end" past the last."""
    if place >= len(of.chain):
        return "the end"
    segment = of.chain[place]
    if segment.kind == "tools":
        name = of.tools[segment.index] if segment.index < len(of.tools) else ""
        return f"tool {name}" if name else f"tools[{segment.index}]"
    if segment.kind == "system":
        return f"system[{segment.index}]"
    listed = "input" if of.wire is Wire.OPENAI_RESPONSES else "messages"
    return f"{listed}[{segment.index}]" + (f" ({segment.role})" if segment.role else "")


def text_of(request: Request, segment: Segment) -> str:
    """What a segment says, as its plain text where it is one, else as JSON without cache marks; "" if it is gone."""
    try:
        envelope = request.envelope
        if segment.kind == "tools":
            return _shown(_any.decode((envelope.tools or ())[segment.index]))
        if segment.kind == "system":
            raws = [raw for raw in (envelope.instructions, envelope.system) if raw is not None]
            if request.wire is not Wire.ANTHROPIC_MESSAGES:
                return _shown(_any.decode(raws[segment.index]))
            blocks = [block for raw in raws for block in _listed(_any.decode(raw))]
            return _shown(blocks[segment.index])
        value = _any.decode(items(request)[segment.index])
    except (BadRequest, IndexError, msgspec.DecodeError, UnicodeDecodeError):
        return ""
    if not isinstance(value, dict):
        return _shown(value)
    content = value.get("content")
    if request.wire is Wire.ANTHROPIC_MESSAGES:
        parts = _listed(content)
        return _shown(parts[segment.part]) if segment.part < len(parts) else ""
    if isinstance(content, str) and not value.get("tool_calls"):
        return content
    if isinstance(content, list) and len(content) == 1:
        return _shown(content[0])
    return _shown(value)


def _listed(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        if isinstance(value.get("text"), str):
            return str(value["text"])
        if isinstance(value.get("content"), str):
            return str(value["content"])
        value = {key: inner for key, inner in value.items() if key != "cache_control"}
    return msgspec.json.encode(value).decode()
