"""Parameters by task and model, templates by name, and lower rungs: only what was configured, and nobody overruled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pennyweight.app import build as build_app
from pennyweight.backends.fitting import Fitting
from pennyweight.call import SAID, Call, Identity, Proposal, Rewrite, Route, Rungs, Target, Verdict
from pennyweight.config import inspect, load
from pennyweight.errors import ConfigError
from pennyweight.optimizers.parameters import Parameters, Settings, build
from pennyweight.pipeline import judge
from pennyweight.protocols import Optimizer
from pennyweight.request import Operation, Wire
from pennyweight.routing.virtual import Live, Lookout, Virtual
from pennyweight.testing.backend import ScriptedBackend, make_call
from pennyweight.testing.optimizer_contract import ContractParts, OptimizerContract

CODE = b'{"model":"m","messages":[{"role":"user","content":"Write a Python function that reverses a list."}]}'
RUNGS = ("ollama/q:q8_0", "ollama/q:q4_K_M", "ollama/q:q2_K")


class Parts:
    def __init__(self, lookout: Lookout = lambda _target: Live(load_s=1.0), virtual: Virtual | None = None) -> None:
        self.lookout = lookout
        self._virtual = virtual

    @property
    def virtual(self) -> Callable[[Call], Virtual | None]:
        return lambda _call: self._virtual

    @property
    def resolve(self) -> Callable[[str, Wire], Target]:
        def resolve(name: str, wire: Wire) -> Target:
            provider, _, model = name.partition("/")
            return Target(provider, model, wire)

        return resolve


def settings(**values: Any) -> Settings:
    return msgspec.convert(values, Settings)


def look(made: Settings, call: Call, parts: Parts | None = None) -> Proposal | None:
    optimizer = build(made, parts or Parts())
    proposal = asyncio.run(optimizer.propose(call))
    assert proposal is None or judge(proposal, mode="on", optimize="safe", risk_left=0.05) is Verdict.ACCEPTED
    return proposal


def sent(made: Settings, call: Call) -> dict[str, Any]:
    """The members that it sets."""
    proposal = look(made, call)
    if proposal is None:
        return {}
    after = call.apply(proposal.action).request.body
    return {key: value for key, value in after.items() if call.request.body.get(key) != value}


class TestContract(OptimizerContract):
    def build(self, parts: ContractParts) -> Optimizer:
        rule = {"temperature": 0.2, "max_tokens": 1000, "template": "list"}
        ladder = {"rungs": ["p/m", "p/n"], "perplexity": [8.0, 8.1], "tasks": ["code", "general", "side", "tools"]}
        return build(settings(rules=[rule], ladders=[ladder]), Parts())


RULES = settings(
    rules=[
        {"tasks": ["code"], "model": "p/*", "temperature": 0.1},
        {"agent": "poet-*", "temperature": 1.2},
        {"model": "small", "max_tokens": 512, "top_p": 0.9},
    ]
)


def test_the_first_rule_that_matches_counts() -> None:
    assert sent(RULES, make_call(CODE)) == {"temperature": 0.1}
    assert sent(RULES, make_call(CODE, provider="other")) == {}
    assert sent(RULES, make_call(model="small")) == {"max_tokens": 512, "top_p": 0.9}
    poet = msgspec.structs.replace(make_call(), identity=Identity(agent="poet-3"))
    assert sent(RULES, poet) == {"temperature": 1.2}
    assert sent(RULES, make_call()) == {}


def test_what_the_caller_set_stays() -> None:
    asked = CODE[:-1] + b',"temperature":0.9}'
    assert look(RULES, make_call(asked)) is None


def test_only_generation_has_parameters() -> None:
    made = settings(rules=[{"temperature": 0.1}])
    assert look(made, make_call(b'{"model":"m","input":"x"}', operation=Operation.EMBED)) is None


def test_a_virtual_models_own_task_counts() -> None:
    virtual = Virtual("coding", "balanced", (), Target("p", "m", Wire.OPENAI_CHAT), task="code")
    assert look(RULES, make_call(), Parts(virtual=virtual)) is not None
    assert look(RULES, make_call()) is None


def test_a_reasoning_model_gets_no_tight_limit() -> None:
    made = settings(rules=[{"max_tokens": 512, "temperature": 0.1}])
    assert sent(made, make_call(provider="openai", model="o3-mini")) == {"max_completion_tokens": 4096}
    assert sent(made, make_call(provider="openai", model="gpt-4o")) == {
        "max_completion_tokens": 512,
        "temperature": 0.1,
    }


def test_the_trail_says_what_was_set() -> None:
    found = look(settings(rules=[{"temperature": 0.2, "max_tokens": 512, "template": "list"}]), make_call())
    assert found is not None
    assert found.why == "temperature 0.2, max_tokens 512; template list"


# --- templates ----------------------------------------------------------------------------------------------


def asking(name: str, **more: Any) -> Call:
    return make_call(headers=(("x-pennyweight-template", name),), **more)


def test_a_caller_asks_for_a_form_by_name() -> None:
    found = sent(settings(), asking("list"))
    assert found["response_format"]["json_schema"]["schema"]["required"] == ["items"]
    assert sent(settings(rules=[{"template": "code"}]), asking("list")) == found  # the caller's word before the rule's


def test_a_name_that_is_not_there_is_told() -> None:
    call = asking("tabel")
    assert look(settings(), call) is None
    assert call.facts[SAID]["parameters"].why == "no template 'tabel': known are code, json, list"


def test_a_rule_forms_no_call_with_tools() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function"}]}'
    call = make_call(body)
    assert look(settings(rules=[{"template": "list"}]), call) is None
    assert "the call has tools" in call.facts[SAID]["parameters"].why
    assert "response_format" in sent(settings(), asking("list", body=body))  # its caller knows what it asks for


def test_forms_of_ones_own() -> None:
    schema = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}, "required": ["label"]}
    schema["additionalProperties"] = False
    made = settings(templates={"label": {"schema": schema}}, rules=[{"template": "label"}])
    assert sent(made, make_call())["response_format"]["json_schema"]["schema"] == schema


def test_why_a_form_is_not_asked_for_stands_in_the_trail() -> None:
    call = asking("list", provider="deepseek", model="deepseek-chat")
    assert look(settings(), call) is None
    assert "deepseek has no schemas" in call.facts[SAID]["parameters"].why


# --- lower rungs --------------------------------------------------------------------------------------------

LADDER = {"rungs": list(RUNGS), "perplexity": [8.0, 8.08, 8.8], "temperature": 0.2}


def side(model: str = "q:q8_0", **more: Any) -> Call:
    call = make_call(provider="ollama", model=model, **more)
    return msgspec.structs.replace(call, identity=Identity(housekeeping="title"))


def test_a_side_task_goes_to_lower_precision_and_colder() -> None:
    found = look(settings(ladders=[LADDER]), side())
    assert found is not None
    assert isinstance(found.action, Route)
    assert found.action.target == Target("ollama", "q:q4_K_M", Wire.OPENAI_CHAT)
    assert [(edit.path, edit.value) for edit in found.action.params] == [(("temperature",), 0.2)]
    assert "perplexity 8 to 8.08 (+1.00%)" in found.why
    assert found.why.startswith("side task, ollama/q:q8_0 to ollama/q:q4_K_M")


def test_other_tasks_stay_where_they_are() -> None:
    assert look(settings(ladders=[LADDER]), make_call(CODE, provider="ollama", model="q:q8_0")) is None
    assert look(settings(ladders=[LADDER]), side("q:q2_K")) is None
    assert look(settings(ladders=[LADDER]), side("another")) is None


def test_an_agent_may_go_down_with_any_task() -> None:
    call = make_call(CODE, provider="ollama", model="q:q8_0")
    call = msgspec.structs.replace(call, identity=Identity(agent="summariser-2"))
    found = look(settings(ladders=[{**LADDER, "agents": ["summariser-*"]}]), call)
    assert found is not None
    assert isinstance(found.action, Route)


def test_why_a_side_task_stays_is_told() -> None:
    call = side()
    assert look(settings(ladders=[LADDER]), call, Parts(lambda _target: Live(resting=True, fits=False))) is None
    assert "stays at ollama/q:q8_0" in call.facts[SAID]["parameters"].why


def test_what_a_cascade_may_ask_is_kept() -> None:
    rungs = Rungs((Target("openai", "gpt-4o", Wire.OPENAI_CHAT),))
    call = msgspec.structs.replace(side(), rungs=rungs)
    found = look(settings(ladders=[LADDER]), call)
    assert found is not None
    assert call.apply(found.action).rungs == rungs


# --- configuration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[[optimizers.settings.rules]]\ntemperature = 3.0", "must be between 0 and 2"),
        ("[[optimizers.settings.rules]]\ntop_p = -1.0", "must be between 0 and 1"),
        ("[[optimizers.settings.rules]]\nmax_tokens = 16", "below `least_tokens`, 256"),
        ('[[optimizers.settings.rules]]\ntasks = ["coding"]', "`tasks` has 'coding'"),
        ('[[optimizers.settings.rules]]\ntemplate = "tabel"', "`template` 'tabel' is not there: code, json, list"),
        ("[[optimizers.settings.rules]]\ntemprature = 1.0", "temprature"),
        ('[optimizers.settings.templates.x.schema]\ntype = "nope"', "schema.type is 'nope'"),
        ('[[optimizers.settings.ladders]]\nrungs = ["olama/a", "olama/b"]', "there is no provider 'olama'"),
        ('[[optimizers.settings.ladders]]\nrungs = ["a/b"]', "two models or more"),
        ('[[optimizers.settings.ladders]]\nrungs = ["a/b", "a/c"]\ntasks = ["sides"]', "`tasks` has 'sides'"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, text: str, match: str) -> None:
    file = tmp_path / "pennyweight.toml"
    file.write_text(f'[[optimizers]]\nuse = "parameters"\n{text}\n')

    async def run() -> None:
        async with build_app(load(file, {"PENNYWEIGHT_DATA": str(tmp_path / "data")})):
            pass

    with pytest.raises(ConfigError, match=match):
        asyncio.run(run())


# --- what a chosen model refuses -----------------------------------------------------------------------------


def passed(call: Call, *, chosen: bool) -> tuple[dict[str, Any], Sequence[str]]:
    async def run() -> tuple[dict[str, Any], Sequence[str]]:
        inner = ScriptedBackend()
        async with await Fitting(inner, lambda _call: chosen).open(call) as reply:
            return json.loads(inner.calls[0].request.raw), [step.why for step in reply.notes]

    return asyncio.run(run())


def test_only_a_model_that_the_caller_did_not_name_has_its_request_fitted() -> None:
    call = make_call(b'{"model":"auto","messages":[],"temperature":0.2}', provider="openai", model="o3-mini")
    assert passed(call, chosen=False)[0]["temperature"] == 0.2
    body, why = passed(call, chosen=True)
    assert "temperature" not in body
    assert why == ["o3-mini refuses temperature"]
    plain = make_call(provider="openai", model="gpt-4o")
    assert passed(plain, chosen=True) == (json.loads(plain.request.raw), [])


def test_it_is_one_of_the_built_in_ones() -> None:
    assert isinstance(build(Settings(), Parts()), Parameters)
    assert not isinstance(look(settings(), make_call()), Rewrite)


def test_standing_before_routing_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "pennyweight.toml"
    for uses, told in ((("parameters", "routing"), True), (("routing", "parameters"), False)):
        file.write_text("".join(f'[[optimizers]]\nuse = "{use}"\n' for use in uses))
        _, problems = inspect(file, {})
        assert any("stands before `routing`" in problem.message for problem in problems) is told
