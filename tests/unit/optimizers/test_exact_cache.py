from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.effort import within
from tests.unit.backends.fakes import FakeClock

from pennyweight.call import SAID, Answer, Call, Credential, Outcome, Proposal, Step, Target, Verdict
from pennyweight.errors import ConfigError
from pennyweight.hits import Audit, CacheRule, looks
from pennyweight.kept import Named, named
from pennyweight.optimizers.exact_cache import (
    NOT_IN_KEY,
    STATEFUL,
    ExactCache,
    Settings,
    build,
    cache_key,
)
from pennyweight.protocols import Optimizer
from pennyweight.request import Charge, Done, Edit, Operation, Response, Usage, Wire
from pennyweight.testing.backend import make_call
from pennyweight.testing.optimizer_contract import ContractParts, OptimizerContract, odd_calls

BODY = b'{"model":"m","temperature":0,"messages":[{"role":"user","content":"hi"}]}'
ANSWER = b'{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}]}'
USAGE = Usage(input_tokens=10, output_tokens=5)


def outcome(call: Call, *, finish: str | None = "stop", raw: bytes = ANSWER) -> Outcome:
    done = Done(USAGE, finish, (Charge("p", "m", USAGE, call.at),))
    return Outcome(call, done, 200, "p", response=Response(call.request.wire, raw, done))


def stored(
    call: Call | None = None, *, settings: Settings | None = None, finish: str = "stop"
) -> tuple[ExactCache, ContractParts, FakeClock]:
    clock = FakeClock()
    parts = ContractParts(clock)
    cache = build(settings or Settings(), parts)
    asyncio.run(cache.settle(outcome(call or make_call(BODY), finish=finish)))
    return cache, parts, clock


def look(cache: ExactCache, call: Call) -> Proposal | None:
    return asyncio.run(cache.propose(call))


class TestContract(OptimizerContract):
    def build(self, parts: ContractParts) -> Optimizer:
        return build(Settings(), parts)


class TestContractWithEverythingOn(OptimizerContract):
    def build(self, parts: ContractParts) -> Optimizer:
        return build(Settings(sampled=True, tool_calls=True), parts)

    def calls(self) -> list[Call]:
        return [msgspec.structs.replace(call, optimize="max") for call in odd_calls()]


def test_an_equal_call_gets_the_answer_and_its_saving() -> None:
    cache, _, clock = stored()
    clock.advance(90)
    proposal = look(cache, make_call(BODY, session="other", call_id="c2"))
    assert proposal is not None
    assert isinstance(proposal.action, Answer)
    response = proposal.action.response
    assert (response.raw, response.wire, response.status) == (ANSWER, Wire.OPENAI_CHAT, 200)
    assert response.done == Done(USAGE, "stop", charges=())
    assert response.headers == (("x-pennyweight-cache", "hit"), ("age", "90"))
    assert (proposal.saving, proposal.tokens, proposal.level, proposal.risk) == (15 * 10**6, 10, "safe", 0.0)


def test_streamed_or_whole_is_the_same_question() -> None:
    cache, _, _ = stored()
    for extra in (b'"stream":true,', b'"stream":false,', b'"stream":true,"stream_options":{"include_usage":true},'):
        assert look(cache, make_call(BODY.replace(b'{"model"', b"{" + extra + b'"model"'))) is not None


def test_the_order_and_spacing_of_members_do_not_matter() -> None:
    cache, _, _ = stored()
    for same in (
        b'{ "messages":[{"role":"user","content":"hi"}],\n "temperature":0, "model":"m"}',
        b'{"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]}',
        b'{\n\t"model" : "m",\r\n "temperature":0,"messages":[ { "role" : "user" , "content":"hi" } ]\n}\n',
    ):
        assert look(cache, make_call(same)) is not None


def test_a_miss_is_read_and_hashed_once_but_under_the_target_that_answered() -> None:
    cache = build(Settings(), parts := ContractParts())
    call = make_call(BODY)
    assert look(cache, call) is None
    elsewhere = msgspec.structs.replace(call, target=Target("q", "small", Wire.OPENAI_CHAT))
    asyncio.run(cache.settle(msgspec.structs.replace(outcome(elsewhere), answered_by="q")))
    (key,) = parts.kv.data
    found = named(key)
    assert found is not None
    assert found.model == "small"


def test_white_space_within_texts_matters() -> None:
    cache, _, _ = stored()
    assert look(cache, make_call(BODY.replace(b'"hi"', b'" hi"'))) is None
    assert look(cache, make_call(BODY.replace(b'"hi"', b'"h i"'))) is None


def test_fields_left_out_of_the_key() -> None:
    """A field may join this set only by a decision: it must not be able to change the answer."""
    assert {"stream", "stream_options"} == NOT_IN_KEY


OTHER_FIELDS = (
    b'"max_tokens":5',
    b'"max_completion_tokens":5',
    b'"top_p":0.5',
    b'"seed":1',
    b'"stop":["x"]',
    b'"user":"u"',
    b'"response_format":{"type":"json_object"}',
    b'"logprobs":true',
    b'"logit_bias":{"1":2}',
    b'"metadata":{"a":"b"}',
    b'"reasoning_effort":"low"',
    b'"service_tier":"flex"',
    b'"presence_penalty":1',
    b'"tool_choice":"none"',
    b'"n":1',
    b'"prompt_cache_key":"k"',
    b'"thinking":{"type":"enabled"}',
    b'"x_unknown":null',
    b'"\xc3\xa9":1',
    b'"big":12345678901234567890123',
)


@pytest.mark.parametrize("field", OTHER_FIELDS)
def test_every_other_field_is_in_the_key(field: bytes) -> None:
    cache, _, _ = stored()
    assert look(cache, make_call(BODY[:-1] + b"," + field + b"}")) is None
    with_field = make_call(BODY[:-1] + b"," + field + b"}")
    asyncio.run(cache.settle(outcome(with_field)))
    assert look(cache, with_field) is not None, "the field itself must not keep the call from being cached"


HEADERS_LEFT_OUT = (
    "accept",
    "accept-encoding",
    "accept-language",
    "baggage",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "http-referer",
    "originator",
    "priority",
    "session_id",
    "traceparent",
    "tracestate",
    "user-agent",
    "via",
    "x-app",
    "x-client-request-id",
    "x-codex-turn-metadata",
    "x-forwarded-for",
    "x-initiator",
    "x-pennyweight-session",
    "x-request-id",
    "x-session-id",
    "x-stainless-arch",
    "x-stainless-retry-count",
    "x-stainless-timeout",
    "x-title",
)
"""What clients send beside a body that cannot change an answer: how it travels, who asks, and which request it is."""


@pytest.mark.parametrize("header", HEADERS_LEFT_OUT)
def test_headers_left_out_of_the_key(header: str) -> None:
    cache, _, _ = stored()
    value = "max-age=60" if header == "cache-control" else "x"
    assert look(cache, make_call(BODY, headers=((header, value),))) is not None


HEADERS_IN_KEY = (
    "anthropic-beta",
    "anthropic-version",
    "anthropic-dangerous-direct-browser-access",
    "idempotency-key",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "x-dashscope-plugin",
    "x-openrouter-provider",
)


@pytest.mark.parametrize("header", HEADERS_IN_KEY)
def test_headers_in_the_key(header: str) -> None:
    cache, _, _ = stored(make_call(BODY, headers=((header, "a"),)))
    assert look(cache, make_call(BODY, headers=((header, "a"),))) is not None
    assert look(cache, make_call(BODY, headers=((header, "b"),))) is None
    assert look(cache, make_call(BODY)) is None


def test_members_cannot_be_taken_for_others() -> None:
    bodies = [
        b'{"a":1,"b":"2"}',
        b'{"a":"1","b":2}',
        b'{"a":12,"b":""}',
        b'{"a":[1,"b"],"c":2}',
        b'{"a":1,"b":[2],"c":2}',
        b'{"a\\"1\\"b":2}',
        b'{"a":{"b":2}}',
    ]
    keys = {cache_key(make_call(body), msgspec.json.decode(body, type=dict[str, msgspec.Raw])) for body in bodies}
    assert len(keys) == len(bodies)


def test_numbers_and_nested_order_are_told_apart() -> None:
    bodies = [
        b'{"model":"m","temperature":0,"big":12345678901234567890123}',
        b'{"model":"m","temperature":0,"big":12345678901234567890124}',
        b'{"model":"m","temperature":0,"schema":{"a":1,"b":2}}',
        b'{"model":"m","temperature":0,"schema":{"b":2,"a":1}}',
    ]
    keys = {cache_key(make_call(body), msgspec.json.decode(body, type=dict[str, msgspec.Raw])) for body in bodies}
    assert len(keys) == 4


@pytest.mark.parametrize(
    "other",
    [
        make_call(BODY, tenant="t"),
        make_call(BODY, provider="q"),
        make_call(BODY, model="n"),
        make_call(BODY, path="/v1/other"),
        make_call(BODY, query="beta=true"),
        make_call(BODY, wire=Wire.ANTHROPIC_MESSAGES),
        make_call(BODY, headers=(("anthropic-beta", "b"),)),
        make_call(BODY, headers=(("openai-organization", "o"),)),
        make_call(BODY, credential=Credential("authorization", "Bearer x")),
        make_call(BODY, optimize="max"),
    ],
)
def test_what_keeps_two_calls_apart(other: Call) -> None:
    cache, _, _ = stored()
    assert look(cache, other) is None
    assert cache.wants_response(other)


def test_later_rewrites_do_not_hide_an_answer() -> None:
    call = make_call(BODY)
    rewritten = msgspec.structs.replace(call, request=call.request.edit([Edit(("x",), 1)]))
    cache, _, _ = stored(rewritten)
    assert look(cache, call) is not None


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[]}',
        b'{"model":"m","temperature":0.2,"messages":[]}',
        BODY[:-1] + b',"tools":[{"type":"function"}]}',
        BODY[:-1] + b',"n":2}',
        BODY.replace(b'"m"', b'"m:online"'),
        *(BODY[:-1] + b',"%s":{"a":1}}' % name.encode() for name in sorted(STATEFUL)),
        b"broken",
        b"[]",
    ],
)
def test_calls_that_are_not_cached(body: bytes) -> None:
    call = make_call(body)
    cache, parts, _ = stored(call)
    assert parts.kv.data == {}
    assert not cache.wants_response(call)
    assert look(cache, call) is None


@pytest.mark.parametrize("operation", [Operation.EMBED, Operation.COUNT, Operation.OTHER])
def test_other_operations_are_not_cached(operation: Operation) -> None:
    assert not stored()[0].wants_response(make_call(BODY, operation=operation))


def test_empty_switches_do_not_count() -> None:
    for field in (b'"tools":[]', b'"store":false', b'"n":1', b'"functions":null', b'"previous_response_id":null'):
        assert stored()[0].wants_response(make_call(BODY[:-1] + b"," + field + b"}")), field


def test_a_seed_is_enough_and_ollama_keeps_both_in_its_options() -> None:
    cache, _, _ = stored()
    assert cache.wants_response(make_call(b'{"model":"m","seed":0}'))
    assert cache.wants_response(make_call(b'{"model":"m","options":{"seed":3}}', wire=Wire.OLLAMA))
    assert not cache.wants_response(make_call(b'{"model":"m","temperature":0}', wire=Wire.OLLAMA))


def test_a_prompt_kept_by_the_provider_is_not_cached_but_one_of_text_is() -> None:
    cache, _, _ = stored()
    assert not cache.wants_response(
        make_call(b'{"model":"m","temperature":0,"prompt":{"id":"p"}}', wire=Wire.OPENAI_RESPONSES)
    )
    assert cache.wants_response(make_call(b'{"model":"m","options":{"seed":1},"prompt":"hi"}', wire=Wire.OLLAMA))


@pytest.mark.parametrize(
    "finish", ["length", "max_tokens", "content_filter", "refusal", "tool_calls", "tool_use", "load", "pause_turn"]
)
def test_answers_that_did_not_end_well_are_not_kept(finish: str) -> None:
    assert stored(finish=finish)[1].kv.data == {}


def test_unhappy_outcomes_are_not_kept() -> None:
    good = outcome(make_call(BODY))
    moved = make_call(BODY).note(Step("fallback", Verdict.ACCEPTED))
    for bad in (
        msgspec.structs.replace(good, status=429),
        msgspec.structs.replace(good, error="StreamCut"),
        msgspec.structs.replace(good, abandoned=True),
        msgspec.structs.replace(good, response=None),
        msgspec.structs.replace(good, done=Done(USAGE, "stop", complete=False)),
        outcome(make_call(BODY), finish=None),
        outcome(make_call(BODY), raw=b"x" * (2**20 + 1)),
        outcome(make_call(BODY), raw=b"<html>"),
        outcome(make_call(BODY), raw=b'{"choices":3}'),
        outcome(moved),
    ):
        parts = ContractParts()
        asyncio.run(build(Settings(), parts).settle(bad))
        assert parts.kv.data == {}


def test_max_alone_switches_nothing_on() -> None:
    cache, _, _ = stored()
    assert not cache.wants_response(make_call(b'{"model":"m"}', optimize="max"))
    assert not cache.wants_response(make_call(BODY[:-1] + b',"tools":[{}]}', optimize="max"))


def test_sampled_calls_under_max_where_switched_on() -> None:
    call = make_call(b'{"model":"m","messages":[]}', optimize="max")
    cache, _, _ = stored(call, settings=Settings(sampled=True))
    proposal = look(cache, call)
    assert proposal is not None
    assert proposal.level == "max"
    assert look(cache, make_call(b'{"model":"m","messages":[]}')) is None


def test_answers_with_tool_calls_under_max_where_switched_on() -> None:
    call = make_call(BODY[:-1] + b',"tools":[{"type":"function"}]}', optimize="max")
    cache, _, _ = stored(call, settings=Settings(tool_calls=True), finish="tool_calls")
    proposal = look(cache, call)
    assert proposal is not None
    assert proposal.level == "max"


@pytest.mark.parametrize(
    "settings",
    [
        Settings(audit=1.5),
        Settings(audit=-0.1),
        Settings(ttl_s=0),
        Settings(max_answer_bytes=-1),
        Settings(ttl_min_s=0),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="exact_cache: "):
        build(settings, ContractParts())


@pytest.mark.parametrize(("ahead_s", "hit"), [(0, True), (59, True), (61, False), (1e6, False)])
def test_an_entry_of_a_replica_whose_clock_is_ahead(ahead_s: float, hit: bool) -> None:
    """Up to a minute counts as just made; beyond that nobody knows how old it is."""
    cache, _, clock = stored()
    clock.advance(-ahead_s)
    proposal = look(cache, make_call(BODY))
    assert (proposal is not None) is hit
    if proposal is not None and isinstance(proposal.action, Answer):
        assert dict(proposal.action.response.headers)["age"] == "0"


def test_an_answer_lives_for_its_time() -> None:
    cache, _, clock = stored(settings=Settings(ttl_s=60))
    clock.advance(59)
    assert look(cache, make_call(BODY)) is not None
    clock.advance(1)
    assert look(cache, make_call(BODY)) is None


def test_a_volatile_route_is_neither_kept_nor_answered() -> None:
    cache, parts, _ = stored()
    parts.rules["m"] = CacheRule("news-*", volatile=True)
    assert look(cache, make_call(BODY)) is None
    assert not cache.wants_response(make_call(BODY))
    parts.kv.data.clear()
    asyncio.run(cache.settle(outcome(make_call(BODY))))
    assert parts.kv.data == {}


@pytest.mark.parametrize(("ttl_s", "hit"), [(30.0, False), (7200.0, True)])
def test_a_route_says_for_how_long(ttl_s: float, hit: bool) -> None:
    cache, parts, clock = stored(settings=Settings(ttl_s=60))
    parts.rules["m"] = CacheRule("m", ttl_s=ttl_s)
    asyncio.run(cache.settle(outcome(make_call(BODY))))
    clock.advance(45)
    assert (look(cache, make_call(BODY)) is not None) is hit


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (make_call(BODY, tenant="t"), "not asked before"),
        (make_call(b'{"model":"m"}'), "sampled: neither temperature 0 nor a seed"),
        (make_call(BODY[:-1] + b',"tools":[{"type":"function"}]}'), "it carries tools"),
        (make_call(BODY.replace(b'"m"', b'"news"')), "its route is volatile"),
        (make_call(BODY[:-1] + b',"n":2}'), "its answer rests on more than its body"),
        (make_call(BODY, headers=(("cache-control", "no-cache"),)), "the caller wants a fresh answer"),
        (make_call(BODY, headers=(("cache-control", "max-age=0"),)), "asked before, too long ago"),
        (make_call(b'{"temperature":0,'), "sampled: neither temperature 0 nor a seed"),
    ],
)
def test_the_trail_tells_why_a_call_was_not_answered(call: Call, why: str) -> None:
    cache, parts, _ = stored()
    parts.rules["news"] = CacheRule("news", volatile=True)
    assert look(cache, call) is None
    assert call.facts[SAID]["exact_cache"].why == why


def test_a_look_is_noted_with_what_came_of_it() -> None:
    cache, parts, _ = stored()
    (key,) = parts.kv.data
    hit, miss = make_call(BODY), make_call(BODY, tenant="t")
    not_allowed, insists = make_call(b'{"model":"m"}'), make_call(BODY, headers=(("cache-control", "no-cache"),))
    for call in (hit, miss, not_allowed, insists):
        look(cache, call)
    assert looks(hit) == [("exact_cache", "store", key)]
    assert looks(miss) == [("exact_cache", "", "")]
    assert looks(not_allowed) == looks(insists) == ()


def test_the_store_that_had_the_answer_is_told() -> None:
    _, parts, _ = stored()

    async def found(key: str) -> tuple[bytes, str] | None:
        value = await parts.kv.get(key)
        return None if value is None else (value, "redis")

    parts.kv.found = found  # type: ignore[attr-defined]
    call = make_call(BODY)
    assert look(build(Settings(), parts), call) is not None
    assert looks(call)[0][1] == "redis"


def audited(answer: bytes, **settings: float) -> tuple[list[Audit], int]:
    """(audits, hits served) of 200 repeats that an upstream answers so."""
    cache, parts, clock = stored(settings=Settings(**settings))  # type: ignore[arg-type]
    hits = 0
    for number in range(200):
        clock.advance(1)
        call = make_call(BODY, call_id=f"call {number}")
        if look(cache, call) is not None:
            hits += 1
        else:
            asyncio.run(cache.settle(outcome(call, raw=answer)))
    return parts.audits, hits


def test_no_hit_is_audited_unless_asked() -> None:
    assert audited(ANSWER) == ([], 200)


def test_a_share_of_hits_is_asked_anew_and_compared() -> None:
    audits, hits = audited(ANSWER, audit=0.2)
    assert 20 <= len(audits) <= 60
    assert hits == 200 - len(audits)
    assert all(audit.valid and audit.source == "audit" and audit.route == "p/m" for audit in audits)


def test_an_answer_that_changed_is_told_as_wrong() -> None:
    audits, _ = audited(ANSWER.replace(b"yes", b"no"), audit=1.0)
    assert [audit.valid for audit in audits] == [False] + [True] * 199, "the fresh answer takes the old one's place"


def test_a_caller_that_insists_on_a_fresh_answer_audits_for_nothing() -> None:
    cache, parts, clock = stored()
    clock.advance(10)
    call = make_call(BODY, headers=(("cache-control", "no-cache"),))
    asyncio.run(cache.settle(outcome(call, raw=ANSWER.replace(b"yes", b"no"))))
    assert [(audit.valid, audit.source) for audit in parts.audits] == [(False, "expired")]


def test_what_a_cache_answered_is_not_kept_as_the_providers() -> None:
    """A recorder may ask for every answer, those of other caches too."""
    cache = build(Settings(), parts := ContractParts())
    asyncio.run(cache.settle(msgspec.structs.replace(outcome(make_call(BODY)), answered_by="semantic_cache")))
    assert parts.kv.data == {}


def test_what_another_call_was_told_is_not_kept_but_what_was_paid_for_is() -> None:
    """It may have been the other one's answer with this one's values put in."""
    shared = outcome(make_call(BODY).note(Step("coalesce", Verdict.ACCEPTED)))
    unpaid = msgspec.structs.replace(shared, done=msgspec.structs.replace(shared.done, charges=()))
    for finished, kept in ((unpaid, 0), (shared, 1)):
        asyncio.run(build(Settings(), parts := ContractParts()).settle(finished))
        assert len(parts.kv.data) == kept


def test_an_answer_of_50_mb_is_not_kept_and_costs_nothing() -> None:
    raw = b'{"choices":[{"message":{"content":"%s"},"finish_reason":"stop"}]}' % (b"x" * 50_000_000)
    cache = build(Settings(), parts := ContractParts())
    huge = outcome(make_call(BODY), raw=raw)
    assert within(0.02, lambda: asyncio.run(cache.settle(huge)))
    assert parts.kv.data == {}


def test_a_request_over_the_limit_is_not_hashed() -> None:
    cache, parts, _ = stored()
    huge = make_call(BODY[:-1] + b',"x":"' + b"x" * 20_000_000 + b'"}')
    finished = outcome(huge)

    def work() -> None:
        assert look(cache, huge) is None
        assert not cache.wants_response(huge)
        asyncio.run(cache.settle(finished))

    assert within(0.02, work)
    assert len(parts.kv.data) == 1


def test_tenants_and_models_may_have_slashes() -> None:
    call = make_call(BODY, tenant="team/a b", model="vendor/model-7b")
    found = named(cache_key(call, msgspec.json.decode(BODY, type=dict[str, msgspec.Raw])))
    assert found is not None
    assert (found.tenant, found.model) == ("team/a b", "vendor/model-7b")


@pytest.mark.parametrize(
    ("value", "hit", "keep"),
    [
        ("no-cache", False, True),
        ("No-Store", True, False),
        ("max-age=120", True, True),
        ("max-age=30", False, True),
        ("max-age=0", False, True),
        ("max-age=soon", False, True),
        ("private, no-cache, no-store", False, False),
        ("only-if-cached", True, True),
    ],
)
def test_the_callers_cache_control_is_honoured(value: str, hit: bool, keep: bool) -> None:
    cache, parts, clock = stored()
    clock.advance(60)
    call = make_call(BODY, headers=(("cache-control", value),))
    assert (look(cache, call) is not None) is hit
    assert cache.wants_response(call) is keep
    parts.kv.data.clear()
    asyncio.run(cache.settle(outcome(call)))
    assert bool(parts.kv.data) is keep


@pytest.mark.parametrize(
    "damage",
    [
        lambda v: b"",
        lambda v: b"\x00" + v[1:],  # of another release
        lambda v: v[:20],
        lambda v: v[:-1],
        lambda v: v[:9],
        lambda v: v[:1] + b"\xc1",
        lambda v: b"\x01\x90",
        lambda v: v.replace(b"yes", b"no!"),  # poisoned
        lambda v: v[:40] + bytes([v[40] ^ 1]) + v[41:],
    ],
)
def test_a_damaged_or_old_entry_is_a_miss(damage) -> None:  # type: ignore[no-untyped-def]
    cache, parts, _ = stored()
    for key, value in list(parts.kv.data.items()):
        parts.kv.data[key] = damage(value)
    call = make_call(BODY)
    assert look(cache, call) is None
    failed = msgspec.structs.replace(outcome(call), status=500)
    asyncio.run(cache.settle(failed))
    assert parts.kv.data == {}, "it is removed, also where no good answer takes its place"


def test_an_entry_that_was_copied_to_another_key_is_a_miss() -> None:
    """Two tenants' entries in one store, changed over: nobody gets the other's."""
    cache, parts, _ = stored()
    asyncio.run(cache.settle(outcome(make_call(BODY, tenant="t"))))
    mine, theirs = parts.kv.data
    parts.kv.data[mine] = parts.kv.data[theirs]
    assert look(cache, make_call(BODY)) is None


def test_an_answer_without_a_known_price_saves_tokens() -> None:
    class NoBook:
        def cost(self, charge: Charge) -> None:
            return None

    _, parts, _ = stored()
    parts.book = NoBook()  # type: ignore[assignment]
    proposal = look(build(Settings(), parts), make_call(BODY))
    assert proposal is not None
    assert (proposal.saving, proposal.tokens) == (0, 10)


def test_a_routed_call_is_kept_under_its_own_target() -> None:
    call = make_call(BODY)
    cache, _, _ = stored(msgspec.structs.replace(call, target=Target("q", "small", Wire.OPENAI_CHAT)))
    assert look(cache, call) is None


def test_keys_show_their_tenant_and_no_content() -> None:
    _, parts, _ = stored(make_call(BODY, tenant="team-a", credential=Credential("x-api-key", "sk-secret")))
    (key,) = parts.kv.data
    assert key.startswith("exact/team-a/")
    assert len(key.split("/")[2]) == 64
    assert named(key) == Named("exact", "team-a", key.split("/")[2], "m")
