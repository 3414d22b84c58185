"""Which calls may be answered by the answer to another one at all: questions whose answer lies in the words alone.

Every rule here only refuses. It does not know what was stored, nor how near two texts are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from ...request import Request, Wire
from ..sameness import repeatable
from .question import Question, question

__all__ = ["STATEFUL", "about_now", "acts", "eligible"]

STATEFUL = frozenset(
    {
        "audio",
        "background",
        "container",
        "context_management",
        "conversation",
        "functions",
        "logprobs",
        "mcp_servers",
        "modalities",
        "plugins",
        "prediction",
        "previous_response_id",
        "search_parameters",
        "store",
        "tool_resources",
        "top_logprobs",
        "web_search_options",
    }
)
"""Fields that tie an answer to something outside the body or to its very words: state kept by the provider, searches,
code that runs, old-style tools, sound, the probabilities of tokens. A call that sets one (not null, false or empty)
is never answered so."""

_NOTHING = frozenset({b"null", b"false", b'""', b"[]", b"{}", b"0"})

_TOOLS_IN_HISTORY = re.compile(
    rb'"(?:tool_calls|tool_call_id|function_call|tool_use|tool_result|function_call_output|server_tool_use)"'
)

_any = msgspec.json.Decoder()


def eligible(request: Request, *, sampled: bool, most_chars: int) -> Question | str:
    """The question, or the reason why only the exact cache may answer this call.

    sampled: whether answers of calls that do not ask to be repeatable may be shared. most_chars: of the text.
    """
    if not sampled and not repeatable(request):
        return "a sampled answer"
    found = question(request)
    if isinstance(found, str):
        return found
    reason = _outside(request, found.fields) or _spoken(found.text, most_chars)
    if reason:
        return reason
    if any(_TOOLS_IN_HISTORY.search(item) for item in found.before):
        return "tools in play"
    return found


def _outside(request: Request, fields: Mapping[str, msgspec.Raw]) -> str:
    """Why the answer depends on more than the text, or there are several; "" when it does not."""
    tools = fields.get("tools")
    if tools is not None and bytes(tools) not in _NOTHING and bytes(fields.get("tool_choice", b"")) != b'"none"':
        return "tools in play"
    for name in sorted(STATEFUL & fields.keys()):
        if bytes(fields[name]) not in _NOTHING and not (name == "modalities" and bytes(fields[name]) == b'["text"]'):
            return f"the field {name}"
    if "n" in fields and bytes(fields["n"]) not in (b"null", b"1"):
        return "several answers asked for"
    if request.wire is Wire.OPENAI_RESPONSES and "prompt" in fields and bytes(fields["prompt"]) not in _NOTHING:
        return "a prompt kept by the provider"
    if request.wire is Wire.OLLAMA and (bytes(fields.get("images", b"[]")) not in _NOTHING or "context" in fields):
        return "images or other media"
    return "a web search" if request.model.endswith(":online") else ""


def _spoken(text: str, most_chars: int) -> str:
    if not text.strip():
        return "no text"
    if len(text) > most_chars:
        return "a long text"
    if acts(text):
        return "a request that acts"
    return "a question about now" if about_now(text) else ""


# --- words ------------------------------------------------------------------------------------------------

_ACTING = (
    "activate|add|approve|archive|assign|block|book|buy|call|cancel|charge|close|commit|confirm|create|deactivate"
    "|delete|deploy|disable|dispatch|drop|email|enable|execute|file|forward|grant|install|invite|invoke|kill|launch"
    "|lock|mail|merge|message|move|notify|open|order|page|pause|pay|post|publish|purchase|push|reboot|refund|register"
    "|reject|remind|remove|rename|renew|reply|reschedule|reserve|reset|restart|resume|revoke|roll back|run|save"
    "|schedule|send|set|ship|shut down|sign|start|stop|submit|subscribe|switch|terminate|text|tip|transfer|trigger"
    "|turn (?:on|off)|uninstall|unlock|unsubscribe|update|upgrade|upload|wire|withdraw"
)

_ACTS = re.compile(
    r"^\W*(?:(?:hi|hello|hey|ok(?:ay)?|so|now|then|and|also|just|yes|right|alright|thanks|thank you|dear \w+)\W+)*"
    r"(?:please\W+)?"
    r"(?:(?:can|could|would|will) you (?:please |kindly |just |go ahead and )*"
    r"|(?:go ahead and|let'?s|kindly|you (?:should|must|need to|have to)) )?"
    r"(?:please )?"
    rf"(?:{_ACTING})\b(?! (?:is|are|was|were|does|do|has|means?)\b)",
    re.IGNORECASE,
)
"""A sentence that opens with a verb of doing, bare or after "please" or "could you". "How do I cancel" does not."""

_NOW = re.compile(
    r"\b(?:today|tonight|tomorrow|yesterday|now(?!\w)|nowadays|right now|just now|at the moment|currently|as of|so far"
    r"|latest|newest|most recent(?:ly)?|up[- ]to[- ]date|breaking|live (?:score|price|stream|update)s?"
    r"|this (?:morning|afternoon|evening|week|weekend|month|quarter|year|season)"
    r"|(?:last|next) (?:night|week|weekend|month|quarter|year)"
    r"|(?:current|present|today'?s) \w+"
    r"|what(?:'s| is) the (?:time|date|weather|temperature|forecast)|what (?:time|day|date) is it|weather|headlines"
    r"|stock price|share price|price of|exchange rate|score of|who(?:'s| is) (?:winning|the (?:president|ceo)))\b",
    re.IGNORECASE,
)
"""Words by which the answer depends on when it is given."""


def acts(text: str) -> bool:
    """Whether the text asks for something to be done rather than said."""
    return any(_ACTS.match(sentence) for sentence in re.split(r"[.!?;\n]+\s*", text[:2000]) if sentence)


def about_now(text: str) -> bool:
    """Whether the right answer depends on the day it is given on."""
    return _NOW.search(text) is not None
