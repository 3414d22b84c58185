"""What a finding is called, what it says, and the remedy with the exact setting, by cause and by client.

`apply` names what the gateway can do itself: "prompt_cache", "prompt_cache max" (sorting tools and moving text belong
to `max`), "billing_header", "heartbeat"; "" where only the client or its user can.

Settings are those of OpenClaw 2026.9.6 (docs.openclaw.ai, reference/prompt-caching), Claude Code 2.1.329, aider 0.86.2
(aider.chat/docs/usage/caching.html), langchain-anthropic 1.7, and the providers' own caching guides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

import msgspec

from .miss import BETWEEN

if TYPE_CHECKING:
    from .finding import Finding

__all__ = ["Advice", "advise"]


class Advice(msgspec.Struct, frozen=True):
    title: str
    detail: str
    fix: str
    setting: str = ""
    apply: str = ""


def advise(
    worst: Finding,
    *,
    calls: int,
    share: float,
    on: Collection[str] = (),
    known: Collection[str] | None = None,
    live: bool = False,
) -> Advice:
    """The words for findings of one kind. worst: the dearest; share: of those calls' prompt tokens, missed.

    on: what the gateway does already, "off" if it may do nothing; known: the optimizers there are, None: all.
    live: the calls went through it.
    Recorded calls that an optimizer which is on would have repaired came another way: then connecting is the remedy.
    """
    made = _ADVICE[worst.code](worst, _Told(calls, share, worst.dearest))
    optimizer = made.apply.partition(" ")[0]
    if not made.apply or (known is not None and optimizer not in known):
        return msgspec.structs.replace(made, apply="")
    if worst.code == "heartbeat":  # the client's own setting does more than any repair
        return msgspec.structs.replace(made, apply="" if made.apply in on else made.apply)
    other = f" In the client: {made.setting}." if made.setting else ""
    if made.apply not in on:
        setting = f'[[optimizers]] use = "{optimizer}"'
        if made.apply.endswith("max"):
            setting, other = 'optimize = "max"', f"{other} Applying this sets max for the whole gateway."
        elif "off" in on:
            setting = 'optimize = "safe"'
        return msgspec.structs.replace(made, fix=made.fix + other, setting=setting)
    if live:
        note = f" The gateway's {optimizer} is on: what comes after this, it found not to pay or cannot reach."
        return msgspec.structs.replace(made, fix=made.fix + note, apply="")
    client = worst.client if worst.client in _CONNECTS else ""
    setting = f"pennyweight connect {client}{' --write' if client not in _SDKS else ''}" if client else made.setting
    fix = f"Send it through the gateway, whose {optimizer} is on.{other}"
    return msgspec.structs.replace(made, fix=fix, setting=setting, apply="")


_SDKS = ("openai-sdk", "anthropic-sdk")
_CONNECTS = ("openclaw", "claude-code", "codex", "opencode", "aider", "llm", *_SDKS)


class _Told(msgspec.Struct, frozen=True):
    """Phrases that most texts need."""

    calls: int
    share: float
    tokens: int

    @property
    def often(self) -> str:
        times = "Once" if self.calls == 1 else f"{self.calls:,} times"
        return f"{times}; up to {self.tokens:,} tokens in a call."

    @property
    def part(self) -> str:
        return f"{self.share:.0%} of the prompt tokens of {_calls(self.calls)}"


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count:,} calls"


def _at(f: Finding) -> str:
    byte = f" at byte {f.at_byte:,}" if f.at_byte is not None else ""
    return f"{f.place}{byte} (token {f.at_token:,} of the prompt)" if f.at_token else f"{f.place}{byte}"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# --- marks --------------------------------------------------------------------------------------------------

_MARKING: Mapping[str, tuple[str, str]] = {
    "anthropic-sdk": (
        "Or let the provider place it: pass cache_control to messages.create.",
        'cache_control={"type": "ephemeral"}',
    ),
    "langchain": ("Or add LangChain's own middleware to the agent.", "middleware=[AnthropicPromptCachingMiddleware()]"),
    "aider": ("Or switch on aider's own markers.", "aider --cache-prompts"),
    "openclaw": (
        "Or have OpenClaw mark them: cacheRetention where it speaks the Messages API, in the model's entry "
        'compat.cacheControlFormat: "anthropic" where it speaks Chat Completions.',
        'agents.defaults.params.cacheRetention: "short"',
    ),
}


def _missing(f: Finding, told: _Told) -> Advice:
    fix, setting = _MARKING.get(f.client, ("Or mark the last message of each request.", '"cache_control"'))
    return Advice(
        "No cache breakpoint: the whole history is paid for in every call",
        f"This provider caches only up to a cache_control breakpoint, and no request has one. {told.part} had been "
        "sent just before.",
        f"Let the gateway place them. {fix}",
        setting,
        "prompt_cache",
    )


def _dropped(f: Finding, told: _Told) -> Advice:
    return Advice(
        "The cache breakpoints are gone from later calls",
        f"Earlier calls had breakpoints, the last on {f.place}; these have none, so nothing is read. {told.often}",
        "Set them in every request, or let the gateway place them.",
        '"cache_control": {"type": "ephemeral"}',
        "prompt_cache",
    )


def _transient(f: Finding, told: _Told) -> Advice:
    return Advice(
        "The breakpoint stands on a message that the next call no longer has",
        f"It is on {f.place}, which is gone or rewritten in the next request: what is written there is never read. "
        f"{told.often}",
        "Mark the last message that stays, or let the gateway move the breakpoint.",
        '"cache_control" on the last message that stays',
        "prompt_cache",
    )


def _misplaced(f: Finding, told: _Told) -> Advice:
    where = f.place or "too short a beginning"
    return Advice(
        f"Nothing behind {where} is ever cached",
        f"The last breakpoint is on {where}. What follows it had been sent before, and was paid again: {told.part}.",
        "Set one more breakpoint on the last message, or let the gateway place it.",
        _MARKING[f.client][1] if f.client in ("anthropic-sdk", "langchain") else '"cache_control" on the last message',
        "prompt_cache",
    )


def _out_of_reach(f: Finding, told: _Told) -> Advice:
    return Advice(
        "The breakpoint is more than 20 blocks from the last one",
        f"The provider looks for an older entry at most 20 content blocks before a breakpoint. The one on {f.place} "
        f"is further from what the call before wrote. {told.often}",
        "Set a breakpoint in between (four are allowed), or let the gateway do it.",
        '"cache_control" every 15 to 20 blocks',
        "prompt_cache",
    )


# --- time ---------------------------------------------------------------------------------------------------

_LONGER: Mapping[str, str] = {
    "openclaw": 'agents.defaults.models["<provider>/<model>"].params.cacheRetention: "long"',
    "langchain": 'AnthropicPromptCachingMiddleware(ttl="1h")',
    "aider": "aider --cache-prompts --cache-keepalive-pings 6",
}


def _lapsed(f: Finding, told: _Told) -> Advice:
    explicit = "claude" in f.model.lower() or (f.ttl_s == 300.0 and f.provider == "anthropic")
    detail = (
        f"The conversation paused for {_span(f.gap_s)}; an entry lives {_span(f.ttl_s)} unused, so all of it was paid "
        f"for again. {told.often}"
    )
    if explicit:
        return Advice(
            "The cache lapsed between two calls",
            detail,
            "Ask for the longer life of an hour. Writing then costs 2 times the input price instead of 1.25, so it "
            "pays only for conversations that pause like this; the gateway decides that from the gaps it sees.",
            _LONGER.get(f.client, '"cache_control": {"type": "ephemeral", "ttl": "1h"}'),
            "prompt_cache",
        )
    return Advice(
        "The cache lapsed between two calls",
        detail,
        "Ask for extended retention, where the model offers it (the provider then keeps the prompt for up to a day).",
        '"prompt_cache_retention": "24h"',
    )


def _parallel(f: Finding, told: _Told) -> Advice:
    return Advice(
        "Calls with the same prompt were sent before the first was cached",
        f"An entry can be read once the first answer begins; these calls came earlier. {told.often}",
        "Send one call, wait for its first byte, then the rest.",
    )


def _evicted(f: Finding, told: _Told) -> Advice:
    return Advice(
        "The provider had forgotten an unchanged prompt",
        "Nothing changed in what was sent, and its time was not up: it was evicted, the call reached another machine, "
        f"or the provider drops the reasoning of finished turns. {told.often}",
        "Nothing to change here. Where it happens often: keep below 15 calls a minute for one prefix and cache key.",
    )


# --- keys, parameters, headers ------------------------------------------------------------------------------


def _key_missing(f: Finding, told: _Told) -> Advice:
    fix = "Send one per conversation, or let the gateway set it."
    setting = '"prompt_cache_key": "<conversation>"'
    if f.client == "openclaw":
        fix = "OpenClaw sends one when the model's entry says so: pennyweight connect openclaw --write."
        setting = "compat.supportsPromptCacheKey: true"
    return Advice(
        "Unchanged prompts reach machines that have not seen them",
        "The calls carry no prompt_cache_key, by which this provider brings calls with one beginning to one machine. "
        f"{told.often}",
        fix,
        setting,
        "prompt_cache",
    )


def _key_changed(f: Finding, told: _Told) -> Advice:
    return Advice(
        "The prompt_cache_key changes within a conversation",
        f"Another key leads to another machine, which has nothing cached. {told.often}",
        "Send the same key for the whole conversation.",
        '"prompt_cache_key": "<conversation>"',
    )


def _header_changed(f: Finding, told: _Told) -> Advice:
    names = ", ".join(f.names) or "its value"
    return Advice(
        "The anthropic-beta header changes within a conversation",
        f"Some betas change the prompt that the provider builds. Different here: {names}. {told.often}",
        "Send the same list of betas with every call.",
        f"anthropic-beta: always or never {names}",
    )


def _parameter_changed(f: Finding, told: _Told) -> Advice:
    names = " and ".join(f.names) or "thinking or tool_choice"
    return Advice(
        f"{names} changes within a conversation",
        f"A change of {names} throws away the cached messages; tools and system stay. {told.often}",
        f"Keep {names} the same for the whole conversation.",
        f'the same "{f.names[0] if f.names else "thinking"}" in every request',
    )


# --- changes ------------------------------------------------------------------------------------------------


def _volatile(f: Finding, told: _Told) -> Advice:
    between = BETWEEN in f.names
    movable = f.place.startswith("system") and not between  # within a session, over the Messages API
    fix = "Move it to the end of the prompt, or write it less exactly (a day, not a second)."
    if movable:
        fix += (
            " Under max the gateway goes on sending the form that the session began with, and tells the new one last."
        )
    spread = "conversation to conversation" if between else "call to call"
    return Advice(
        f"{_capital(f.what or 'text that changes by itself')} near the start of the prompt changes from {spread}",
        f"It stands in {_at(f)}; everything behind it is paid for again. {told.often}",
        fix,
        f"keep {f.what or 'it'} out of {f.place}",
        "prompt_cache max" if movable else "",
    )


def _billing(f: Finding, told: _Told) -> Advice:
    return Advice(
        "Claude Code's billing line heads the prompt",
        f"Its digits change, and this upstream hashes them like any text: {_at(f)}. {told.often}",
        "Switch the line off in Claude Code, or let the gateway take it out.",
        "CLAUDE_CODE_ATTRIBUTION_HEADER=0",
        "billing_header",
    )


def _system(f: Finding, told: _Told) -> Advice:
    return Advice(
        f"{f.place} is rewritten within a conversation",
        f"It changes at {_at(f)}; everything behind it is paid for again. {told.often}",
        "Keep the instructions as they were first sent, and add what is new in a message at the end.",
        f"{f.place} constant within a session",
    )


def _reordered(f: Finding, told: _Told) -> Advice:
    return Advice(
        "The same tools come in another order",
        f"Tools head the prompt, so another order is another prompt. {told.often}",
        "Send tools in one order. Under max the gateway goes on sending the order that the session began with.",
        "tools sorted by name",
        "prompt_cache max",
    )


def _tools(f: Finding, told: _Told) -> Advice:
    differ = ", ".join(f.names[:6]) + (f" and {len(f.names) - 6} more" if len(f.names) > 6 else "")
    fix, setting = "Choose the tools once for a conversation; start tool servers before it begins.", "one list of tools"
    if f.client == "claude-code":
        fix += " Tool search loads a schema only when it is needed, without touching the list."
        setting = "ENABLE_TOOL_SEARCH=true"
    return Advice(
        "Tools come and go within a conversation",
        f"Tools head the prompt, so everything behind the change is paid for again: {differ}. {told.often}",
        fix,
        setting,
    )


def _tool(f: Finding, told: _Told) -> Advice:
    return Advice(
        f"The definition of {f.place} changes within a conversation",
        f"It changes at {_at(f)}; everything behind it is paid for again. {told.often}",
        "Keep descriptions and schemas constant; tell the model what is new in a message at the end.",
        f"{f.place} constant within a session",
    )


def _history(f: Finding, told: _Told) -> Advice:
    what = f" ({f.what} in it)" if f.what else ""
    detail = f"{f.place} was sent before in another form{what}: {_at(f)}. What follows is paid for again. {told.often}"
    if f.client == "aider":
        return Advice(
            "aider sends its repo map and the files anew in the middle of the prompt",
            f"Each turn and each edit moves or changes them, for instance {_at(f)}. What follows is paid again. "
            f"{told.often}",
            "Freeze the repo map, and keep few files in the chat: /drop what needs no edits, /read-only what is only "
            "looked at.",
            "aider --map-refresh manual",
        )
    return Advice(
        "A message is rewritten after it was sent",
        detail,
        "Leave messages as they were first sent; add corrections and fresh state in a new message at the end.",
        "history that only grows",
    )


def _heartbeat(f: Finding, told: _Told) -> Advice:
    differ = f" (tools: {', '.join(f.names[:4])})" if f.names else ""
    return Advice(
        "Heartbeats break the session's cache",
        f"A wake sends the whole history behind another list of tools and another system prompt{differ}, and the turn "
        f"after it comes back with a message rewritten. {told.often}",
        "Wake in a session of its own with a light context, if wakes need not know the conversation. Otherwise the "
        "gateway's heartbeat repairs part of it, and most of it under optimize = max.",
        'agents.defaults.heartbeat: {"isolatedSession": true, "lightContext": true}',
        "heartbeat",
    )


def _memory_flush(f: Finding, told: _Told) -> Advice:
    return Advice(
        "The memory flush sends the whole history with other tools",
        f"Before a compaction OpenClaw asks once for what to remember, behind another head. {told.often}",
        "Give it a cheaper model.",
        'agents.defaults.compaction.memoryFlush.model: "<provider>/<model>"',
    )


def _model(f: Finding, told: _Told) -> Advice:
    return Advice(
        "The model changes within a conversation",
        f"{' → '.join(f.names)}: each model has a cache of its own, so the whole prompt is paid again. {told.often}",
        "Stay with one model in a conversation; start a new one for another model, or switch right after a compaction.",
        "one model for a session",
    )


def _provider(f: Finding, told: _Told) -> Advice:
    return Advice(
        "The provider changes within a conversation",
        f"{' → '.join(f.names)}: the other one has nothing cached. {told.often}",
        "Let a conversation stay with its provider; use fallbacks for failures only.",
        "[[routes]] with one provider for the model, the other in its fallbacks",
    )


def _minimum(f: Finding, told: _Told) -> Advice:
    return Advice(
        "Prompts are too short for this model's cache",
        f"It caches from {f.at_token:,} tokens on; what these calls share is shorter. {told.often}",
        "Put more of what is constant in front (examples, reference text), or take a model with a lower minimum. For "
        "prompts that stay this short there is nothing to gain.",
        f"at least {f.at_token:,} constant tokens first",
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


_ADVICE: Mapping[str, Callable[[Finding, _Told], Advice]] = {
    "ttl_lapsed": _lapsed,
    "volatile_head": _volatile,
    "billing_header": _billing,
    "system_changed": _system,
    "tools_reordered": _reordered,
    "tools_changed": _tools,
    "tool_changed": _tool,
    "history_changed": _history,
    "model_switched": _model,
    "provider_switched": _provider,
    "below_minimum": _minimum,
    "marker_missing": _missing,
    "marker_dropped": _dropped,
    "marker_transient": _transient,
    "marker_misplaced": _misplaced,
    "marker_out_of_reach": _out_of_reach,
    "header_changed": _header_changed,
    "parameter_changed": _parameter_changed,
    "cache_key_missing": _key_missing,
    "cache_key_changed": _key_changed,
    "heartbeat": _heartbeat,
    "memory_flush": _memory_flush,
    "parallel": _parallel,
    "evicted": _evicted,
}
