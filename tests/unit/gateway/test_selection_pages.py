"""Choosing over HTTP: what comes and goes, whose it is, and what is refused; and the same by library and command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import pennyweight
from pennyweight.app import App, build
from pennyweight.cli.selection import command
from pennyweight.config import inspect, load
from pennyweight.errors import BadRequest, ConfigError
from pennyweight.front.auth import Gate
from pennyweight.front.front import Front
from pennyweight.front.http import HttpRequest
from pennyweight.gateway.metrics import Metrics
from pennyweight.gateway.pages import Pages

Ask = Callable[..., Awaitable[tuple[int, Any]]]


def drive(folder: Path, work: Callable[[App, Ask], Awaitable[None]], text: str = "") -> None:
    async def main() -> None:
        file = folder / "pennyweight.toml"
        file.write_text(text)
        async with asyncio.timeout(60), build(load(file, {"PENNYWEIGHT_DATA": str(folder)}, {})) as app:
            gate = Gate(app.config, app.keys)
            front = Front(app, gate, Pages(app, gate, Metrics()).find)

            async def ask(path: str, body: Any = None, key: str = "", content_type: str = "application/json") -> Any:
                headers = [("host", "127.0.0.1:1"), ("content-type", content_type)]
                headers += [("x-pennyweight-key", key)] if key else []
                raw = b"" if body is None else json.dumps(body).encode()
                method = "GET" if body is None else "POST"
                response = await front.respond(HttpRequest(method, path, "", tuple(headers), raw, "127.0.0.1"))
                assert isinstance(response.body, bytes)
                return response.status, json.loads(response.body)

            await work(app, ask)

    asyncio.run(main())


def test_a_choice_is_given_and_learnt_from(tmp_path: Path) -> None:
    async def work(_app: App, ask: Ask) -> None:
        asked = {"task_type": "code", "candidates": ["sage", {"name": "scout", "model": "kimi-k2"}]}
        for _ in range(40):
            status, choice = await ask("/v1/pennyweight/select", asked)
            assert status == 200
            told = {"choice": choice, "success": float(choice["name"] == "scout"), "tokens": 900, "latency_s": 2.5}
            assert await ask("/v1/pennyweight/feedback", told) == (200, {"learnt": True})
        assert choice["name"] == "scout"
        status, found = await ask("/v1/pennyweight/selection")
        scout = next(one for one in found["standings"] if one["name"] == "scout")
        assert (found["rule"], scout["model"], scout["success"], scout["tokens"]) == ("posterior", "kimi-k2", 1, 900)

    drive(tmp_path, work)


def test_every_key_has_its_own(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        alice, bob = app.keys.add("alice"), app.keys.add("bob")
        told = {"choice": {"task_type": "code", "name": "a"}, "success": 1}
        assert (await ask("/v1/pennyweight/feedback", told, key=alice))[0] == 200
        assert len((await ask("/v1/pennyweight/selection", key=alice))[1]["standings"]) == 1
        assert (await ask("/v1/pennyweight/selection", key=bob))[1]["standings"] == []
        assert (await ask("/v1/pennyweight/selection", key="pw-nonsense"))[0] in (200, 401)
        pair = {"optimizer": "exact_cache", "new": 0, "old": 1}
        assert (await ask("/pennyweight/pairs", pair, key=alice))[0] == 403

    drive(tmp_path, work)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("select", {"task_type": "code", "candidates": []}),
        ("select", {"task_type": "", "candidates": ["a"]}),
        ("select", {"task_type": "code", "candidates": ["a", "a"]}),
        ("select", {"task_type": "code", "candidates": ["a"], "odd": 1}),
        ("select", {"task_type": "code", "candidates": [str(n) for n in range(1001)]}),
        ("select", []),
        ("feedback", {"choice": {"task_type": "code", "name": "a"}, "success": 1.5}),
        ("feedback", {"choice": {"task_type": "code", "name": "a"}, "success": 1, "tokens": -1}),
        ("feedback", {"choice": {"task_type": "code"}, "success": 1}),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, path: str, body: Any) -> None:
    async def work(_app: App, ask: Ask) -> None:
        assert (await ask(f"/v1/pennyweight/{path}", body))[0] == 400
        assert (await ask("/v1/pennyweight/selection"))[1]["standings"] == []

    drive(tmp_path, work)


def test_a_form_is_not_taken(tmp_path: Path) -> None:
    async def work(_app: App, ask: Ask) -> None:
        asked = {"task_type": "code", "candidates": ["a"]}
        assert (await ask("/v1/pennyweight/select", asked, content_type="text/plain"))[0] == 400

    drive(tmp_path, work)


def test_pairs_that_are_told_take_an_optimizer_back(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        for _ in range(12):
            told = {"optimizer": "exact_cache", "new": 0, "old": 1, "route": "auto"}
            assert await ask("/pennyweight/pairs", told) == (200, {"kept": True})
        status, found = await ask("/pennyweight/experiments")
        assert (status, found["shadow_pairs"][0]["worse"]) == (200, 12)
        assert app.policy.in_force("exact_cache").mode == "shadow"
        assert (await ask("/pennyweight/pairs", {"optimizer": "exact_cache", "new": 2, "old": 1}))[0] == 400
        assert (await ask("/pennyweight/pairs", {"optimizer": "nothing", "new": 1, "old": 1}))[0] == 404

    drive(tmp_path, work)


def test_gateway_library_and_command_share_what_is_learnt(tmp_path: Path) -> None:
    async def work(_app: App, ask: Ask) -> None:
        def elsewhere() -> tuple[pennyweight.Choice, Any]:
            config = load(None, {"PENNYWEIGHT_DATA": str(tmp_path)}, {})
            choice = pennyweight.select("code", ["sage", pennyweight.Candidate("scout", "kimi-k2")], source=config)
            for _ in range(9):
                pennyweight.feedback(pennyweight.Choice("code", "scout", "kimi-k2"), 1.0, source=config)
            place = ["--data", str(tmp_path)]
            told = ["feedback", "code", "sage", "--success", "0", *place]
            assert CliRunner().invoke(command, told, catch_exceptions=False).exit_code == 0
            chosen = ["select", "code", "sage", "scout=kimi-k2", "--json", *place]
            return choice, json.loads(CliRunner().invoke(command, chosen, catch_exceptions=False).stdout)

        first, then = await asyncio.to_thread(elsewhere)
        assert first.name in ("sage", "scout")
        assert then["name"] == "scout"
        _, found = await ask("/v1/pennyweight/selection")
        assert {one["name"]: one["tried"] for one in found["standings"]} == {"scout": 9, "sage": 1}

    drive(tmp_path, work)


def test_the_command_shows_and_forgets(tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(command, [*arguments, "--data", str(tmp_path)], catch_exceptions=False)

    assert "Nothing was told yet" in run().output
    told = run("feedback", "code", "[red]smith", "--model", "kimi-k2", "--success", "1", "--tokens", "5200", "--json")
    assert json.loads(told.output) == {"learnt": True}
    shown = run()
    assert "[red]smith" in shown.output
    assert "5,200" in shown.output
    assert json.loads(run("--json").output)["standings"][0]["tried"] == 1
    assert json.loads(run("--tenant", "bob", "--json").output)["standings"] == []
    assert "begin anew" in run("forget").output
    assert json.loads(run("--json").output)["standings"] == []
    assert run("feedback", "code", "a", "--success", "2").exit_code == 2
    with pytest.raises(BadRequest):
        run("select", "code", "a", "a")


@pytest.mark.parametrize("name", [[], ["select"], ["feedback"], ["forget"]])
def test_help_has_examples(name: list[str]) -> None:
    assert "pennyweight selection" in CliRunner().invoke(command, [*name, "--help"]).output


def test_a_rule_that_cannot_be_is_refused_at_the_start(tmp_path: Path) -> None:
    def problems(text: str) -> list[str]:
        file = tmp_path / "pennyweight.toml"
        file.write_text(f"[selection]\n{text}\n")
        return [problem.message for problem in inspect(file, {"PENNYWEIGHT_DATA": str(tmp_path)}, None)[1]]

    assert not problems('rule = "ucb"\ntoken_weight = 0.2')
    assert "token_weight" in problems("token_weight = 0.9\nlatency_weight = 0.9")[0]
    assert "selection.store" in problems('store = "redis"')[0]
    assert problems('rule = "best"')
    config = load(None, {"PENNYWEIGHT_DATA": str(tmp_path)}, {})
    (tmp_path / "memory.toml").write_text('[selection]\nstore = "memory"\n')
    with pytest.raises(ConfigError, match="memory"):
        pennyweight.select("code", ["a"], source=tmp_path / "memory.toml")
    assert config.selection.store == "sqlite"
