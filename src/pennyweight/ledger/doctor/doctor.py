"""Follows calls in their order, compares each with what its conversation sent before, and gathers what was missed."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence

from ...prices.caching import CacheRules
from ...request import Wire
from .diagnose import Miss, last_mark, misses, overlap
from .finding import Finding, add
from .sent import Pricing, Sent, Story, prompt_cost

__all__ = ["Doctor", "Rules"]

Rules = Callable[[str, str, Wire], CacheRules]

RECENT = 4  # calls of a conversation that are compared with, beside the last one of each head
HEADS = 6  # a conversation's titles, wakes and summaries have heads of their own
NEIGHBOURS = 6  # other conversations of a route


class Doctor:
    """`see` calls in the order in which they were sent; `findings` are what they missed.

    Bounded: the conversations not heard of for longest are forgotten, their findings are kept.
    """

    def __init__(self, rules: Rules, pricing: Pricing, *, conversations: int = 4_096) -> None:
        self._rules = rules
        self._pricing = pricing
        self._limit = conversations
        self._conversations: OrderedDict[tuple[str, str], _Conversation] = OrderedDict()
        self._routes: dict[tuple[str, str, str], deque[Sent]] = {}
        self._findings: dict[tuple[str, ...], Finding] = {}
        self.calls = 0
        self.prompt_tokens = 0
        self.prompt_cost = 0  # PicoUSD, of the calls that have a price

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(self._findings.values())

    def see(self, call: Sent) -> tuple[Miss, ...]:
        """What this call missed."""
        rules, rates = self._rules(call.provider, call.model, call.wire), self._pricing(call)
        self.calls += 1
        self.prompt_tokens += call.usage.input_tokens
        self.prompt_cost += prompt_cost(call.usage, rates) if rates is not None else 0
        conversation = self._conversation(call)
        route = self._routes.setdefault((call.tenant, call.provider, call.model), deque(maxlen=NEIGHBOURS))
        earlier = conversation.calls()
        others = [other for other in route if other.session != call.session]
        found = misses(call, earlier, others, rules, rates)
        call.tell(_story(call, earlier))
        for miss in found:
            if miss.cost is None or miss.cost > 0:
                finding = add(None, call, miss)
                self._findings[finding.key] = add(self._findings.get(finding.key), call, miss)
        conversation.take(call)
        self._neighbour(route, call)
        return found

    def _conversation(self, call: Sent) -> _Conversation:
        key = (call.tenant, call.session or f"\0{call.call_id}")
        found = self._conversations.get(key)
        if found is None:
            found = self._conversations[key] = _Conversation()
            if len(self._conversations) > self._limit:
                self._conversations.popitem(last=False)
        else:
            self._conversations.move_to_end(key)
        return found

    @staticmethod
    def _neighbour(route: deque[Sent], call: Sent) -> None:
        """The last call of each conversation of the route."""
        for other in list(route):
            if other.session == call.session and call.session:
                route.remove(other)
        route.append(call)


class _Conversation:
    """The calls that a next one is compared with."""

    def __init__(self) -> None:
        self._recent: deque[Sent] = deque(maxlen=RECENT)
        self._heads: OrderedDict[tuple[object, ...], Sent] = OrderedDict()

    def calls(self) -> list[Sent]:
        known = {id(call): call for call in (*self._heads.values(), *self._recent)}
        return sorted(known.values(), key=lambda call: call.at)

    def take(self, call: Sent) -> None:
        self._recent.append(call)
        key = (call.provider, call.model, _head(call))
        self._heads[key] = call
        self._heads.move_to_end(key)
        if len(self._heads) > HEADS:
            self._heads.popitem(last=False)


def _head(call: Sent) -> bytes:
    """The content of tools and system prompt."""
    parts: Iterable[bytes] = (s.content for s in call.chain if s.kind != "message" or s.role in ("system", "developer"))
    return b"".join(parts)


def _story(call: Sent, earlier: Sequence[Sent]) -> Story:
    mates = [(overlap(past, call).tokens, past) for past in earlier if past.model == call.model]
    shared, nearest = max(mates, key=lambda pair: (pair[0], pair[1].at), default=(0.0, None))
    return Story(shared, last_mark(call) or (nearest.story.marked if nearest is not None else ""))
