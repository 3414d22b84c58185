"""`[lanes]`: what may be written, and what is told of what cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest

from pennyweight.config import Resolver, inspect, load
from pennyweight.request import Wire
from pennyweight.routing.background import LaneSettings


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "pennyweight.toml"
    file.write_text(text)
    return file


def found(tmp_path: Path, text: str) -> list[str]:
    _, problems = inspect(written(tmp_path, text), {"PENNYWEIGHT_DATA": str(tmp_path)})
    return [f"{problem.severity}: {problem}" for problem in problems]


def test_as_it_stands_nothing_waits(tmp_path: Path) -> None:
    assert load(None, {"PENNYWEIGHT_DATA": str(tmp_path)}).lanes == LaneSettings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("window_s = 0", "lanes.window_s 0.0 must be above 0"),
        ("margin_s = -1", "lanes.margin_s -1.0 must not be below 0"),
        ('batch = ["nobody"]', "lanes.batch names provider 'nobody'"),
        ('embed = ["nobody"]', "lanes.embed names provider 'nobody'"),
        ('batch = ["ollama"]', "has no Batch API"),
        ('target = "nobody/x"', "names a provider that is not there"),
        ('target = "ollama"', "names no model"),
        ('webhooks = {x = "ftp://x"}', "is no http(s) address"),
        ('combine = [{model = "m", size = 1}]', "has a size below 2"),
        ('chores = ["lunch"]', "lanes.chores"),
        ('colour = "red"', "lanes.colour is no setting"),
    ],
)
def test_what_cannot_work_is_told_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    told = [problem for problem in found(tmp_path, f"[lanes]\n{text}\n") if said in problem]
    assert len(told) == 1
    assert told[0].startswith("error")
    assert "pennyweight.toml:2" in told[0]


def test_waiting_for_nothing_is_doubtful(tmp_path: Path) -> None:
    for text in ("[lanes]\nmarked = true\n", '[[routes]]\nmodel = "m"\nprovider = "openai"\nlane = "background"\n'):
        assert any("nowhere that they would be cheaper" in problem for problem in found(tmp_path, text))
    assert not any("nowhere" in problem for problem in found(tmp_path, '[lanes]\nmarked = true\nbatch = ["openai"]\n'))


def test_a_route_has_a_lane(tmp_path: Path) -> None:
    text = '[[routes]]\nmodel = "slow-*"\nprovider = "openai"\nlane = "background"\n'
    resolver = Resolver(load(written(tmp_path, text), {"PENNYWEIGHT_DATA": str(tmp_path)}))
    assert resolver.full("slow-1", Wire.OPENAI_CHAT).lane == "background"
    assert resolver.full("gpt-4o", Wire.OPENAI_CHAT).lane is None


def test_the_webhooks_secret_is_not_shown(tmp_path: Path) -> None:
    config = load(None, {"PENNYWEIGHT_DATA": str(tmp_path), "PENNYWEIGHT_WEBHOOK_SECRET": "s3cret"})
    assert config.webhook_secret is not None
    assert config.webhook_secret.reveal() == "s3cret"
    assert "s3cret" not in repr(config)
