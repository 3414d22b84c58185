"""Follows calls in their order and compares each with what its conversation sent before."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence

from ...prices.caching import CacheRules
from ...request import Wire
from .alike import head_size, last_mark, overlap
from .diagnose import misses
from .finding import Finding, add
from .miss import FLOOR_TOKENS, Miss
from .sent import Pricing, Sent, Story

__all__ = ["Doctor", "Rules", "gather"]

Rules = Callable[[str, str, Wire], CacheRules]

RECENT = 4  # calls of a conversation that are compared with, beside the last one of each head
HEADS = 6  # a conversation's titles, wakes and summaries have heads of their own
NEIGHBOURS = 6  # other conversations of a route


class Doctor:
    """`see` calls in the order in which they were sent. The conversations not heard of for longest are
    forgotten first."""

    def __init__(
        self, rules: Rules, pricing: Pricing, *, conversations: int = 4_096, held_bytes: int = 256 << 20
    ) -> None:
        """held_bytes: of prompts whose text is kept to be compared with; of older ones what a chain tells is enough."""
        self._limit_bytes = held_bytes
        self._held: deque[Sent] = deque()
        self.held_bytes = 0
        self._rules = rules
        self._pricing = pricing
        self._limit = conversations
        self._conversations: OrderedDict[tuple[str, str], _Conversation] = OrderedDict()
        self._routes: OrderedDict[tuple[str, str, str], deque[Sent]] = OrderedDict()

    def see(self, call: Sent) -> tuple[Miss, ...]:
        """What this call missed; misses that cost nothing are none."""
        conversation = self._conversation(call)
        route = self._route(call)
        earlier = conversation.calls()
        others = [other for other in route if other.session != call.session]
        found: tuple[Miss, ...] = ()
        if _doubtful(call, earlier or others):
            rules = self._rules(call.provider, call.model, call.wire)
            found = misses(call, earlier, others, rules, self._pricing(call))
            call.tell(_story(call, earlier))
        else:
            before = earlier[-1].story.marked if earlier else ""
            call.tell(Story(float(call.usage.cache_read_tokens), last_mark(call) or before))
        conversation.take(call)
        _neighbour(route, call)
        self._hold(call)
        return tuple(miss for miss in found if miss.cost is None or miss.cost > 0)

    def _hold(self, call: Sent) -> None:
        self._held.append(call)
        self.held_bytes += call.size_bytes
        while self.held_bytes > self._limit_bytes and len(self._held) > 1:
            oldest = self._held.popleft()
            self.held_bytes -= oldest.size_bytes
            oldest.let_go()

    def _route(self, call: Sent) -> deque[Sent]:
        key = (call.tenant, call.provider, call.model)
        found = self._routes.get(key)
        if found is None:
            found = self._routes[key] = deque(maxlen=NEIGHBOURS)
            if len(self._routes) > self._limit:
                self._routes.popitem(last=False)
        else:
            self._routes.move_to_end(key)
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


def gather(findings: dict[tuple[str, ...], Finding], call: Sent, missed: Iterable[Miss]) -> None:
    """Adds what a call missed to the findings, which are kept by their keys."""
    for miss in missed:
        one = add(None, call, miss)
        findings[one.key] = add(findings[one.key], call, miss) if one.key in findings else one


def _doubtful(call: Sent, earlier: Iterable[Sent]) -> bool:
    """Whether any earlier prompt was so much longer than what was read that a miss is possible at all.

    This is all that most calls cost: comparing prompts is for those that fail it.
    """
    usage = call.usage
    most = max((before.usage.input_tokens for before in earlier), default=0)
    return min(most, usage.input_tokens) - usage.cache_read_tokens >= FLOOR_TOKENS


def _neighbour(route: deque[Sent], call: Sent) -> None:
    """Keeps the last call of each conversation of the route."""
    if call.session:
        for other in list(route):
            if other.session == call.session:
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
    """Stands for the content of tools and system prompt."""
    size = head_size(call)
    return call.chain[size - 1].digest if size else b""


def _story(call: Sent, earlier: Sequence[Sent]) -> Story:
    mates = [(overlap(past, call).tokens, past) for past in earlier if past.model == call.model]
    shared, nearest = max(mates, key=lambda pair: (pair[0], pair[1].at), default=(0.0, None))
    return Story(shared, last_mark(call) or (nearest.story.marked if nearest is not None else ""))
