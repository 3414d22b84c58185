"""One real model in three precisions: what each costs is measured, and a side task goes down the ladder."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.llama import MODELS, Llama, own
from tests.quantise import quantise

from pennyweight.app import build
from pennyweight.app.local import machine_of
from pennyweight.backends.local.perplexity import Measured, compare, measure, perplexity
from pennyweight.call import Call, Identity, Target, Verdict
from pennyweight.cli.local import command
from pennyweight.clock import SystemClock
from pennyweight.config import Config, load
from pennyweight.errors import BackendError
from pennyweight.request import Request, Wire

TEXT = (
    "<|im_start|>user\nMy user ID is mia_li_3668 and I want to cancel my reservation H9ZU1C.<|im_end|>\n"
    "<|im_start|>assistant\nI can help you with that. Could you please tell me the reason for the cancellation?"
    "<|im_end|>\n<|im_start|>user\nMy plans have changed, and I do not need the flight any more.<|im_end|>\n"
) * 2


@pytest.fixture(scope="module")
def ladder(llama_server: Llama, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Llama]]:
    folder = tmp_path_factory.mktemp("precisions")
    source = MODELS / "tiny-target-f16.gguf"
    q8, q4 = (quantise(source, folder / f"tiny-{kind}.gguf", kind) for kind in ("q8_0", "q4_0"))  # type: ignore[arg-type]
    assert q4.stat().st_size < 0.6 * q8.stat().st_size < 0.4 * source.stat().st_size
    servers = [own(str(path), model=path.stem) for path in (q8, q4)]
    try:
        yield {"f16": llama_server, "q8_0": next(servers[0]), "q4_0": next(servers[1])}
    finally:
        for server in servers:
            server.close()  # type: ignore[attr-defined]


def config(tmp: Path, servers: dict[str, Llama], more: str = "") -> Config:
    providers = "".join(
        f'[providers.{name}]\nbase_url = "{server.url}/v1"\nusd_per_hour = 0.0\n' for name, server in servers.items()
    )
    file = tmp / "pennyweight.toml"
    file.write_text(f"[resources]\nservers = {json.dumps(list(servers))}\nevery_s = 0.05\n{providers}{more}")
    return load(file, {"PENNYWEIGHT_DATA": str(tmp / "data")}, {"holdout": 0.0})


def measured(tmp: Path, servers: dict[str, Llama], **more: Any) -> dict[str, Measured]:
    async def run() -> dict[str, Measured]:
        machine = machine_of(config(tmp, servers), SystemClock())
        try:
            return {name: await measure(machine.places[name].ask, TEXT, **more) for name in servers}
        finally:
            await machine.aclose()

    return asyncio.run(run())


def test_what_a_precision_costs_is_told_with_its_error(ladder: dict[str, Llama], tmp_path: Path) -> None:
    found = measured(tmp_path, ladder)
    f16, q8, q4 = (found[name] for name in ("f16", "q8_0", "q4_0"))
    assert len(f16.logprobs) == len(q4.logprobs) > 100
    assert 1.5 < f16.perplexity < 100
    (eight, eight_error), (four, four_error) = compare(f16, q8) or (9.0, 9.0), compare(f16, q4) or (0.0, 0.0)
    assert abs(eight) < 0.01
    assert four == pytest.approx(q4.perplexity / f16.perplexity - 1)
    # On so short a text four bits may come out better by chance: how far the model moved shows in the error.
    assert four_error > 3 * eight_error > 0
    assert compare(f16, Measured(f16.logprobs[1:])) is None


def test_windows_and_lengths_are_kept(llama_server: Llama, tmp_path: Path) -> None:
    servers = {"f16": llama_server}
    assert len(measured(tmp_path, servers, tokens=50)["f16"].logprobs) == 50
    whole = measured(tmp_path, servers, tokens=40)["f16"].logprobs
    parts = measured(tmp_path, servers, tokens=40, window=20)["f16"].logprobs
    assert parts[:20] == pytest.approx(whole[:20], abs=1e-3)
    assert parts[20:] != pytest.approx(whole[20:], abs=1e-3)  # their context begins anew


def test_the_figures_are_those_of_the_whole_distribution(llama_server: Llama, tmp_path: Path) -> None:
    from tests.integration.test_llama import ask

    ids = ask(llama_server, "/tokenize", {"content": TEXT, "add_special": False})["tokens"]
    found = measured(tmp_path, {"f16": llama_server}, tokens=30)["f16"].logprobs
    for place in (1, 7, 30):
        told = ask(llama_server, "/completion", {"prompt": ids[:place], "n_predict": 1, "n_probs": 4096})
        every = {each["id"]: each["logprob"] for each in told["completion_probabilities"][0]["top_logprobs"]}
        assert sum(map(math.exp, every.values())) == pytest.approx(1, abs=1e-3)
        assert found[place - 1] == pytest.approx(every[ids[place]], abs=1e-2)


def test_a_text_of_one_token_is_refused(llama_server: Llama, tmp_path: Path) -> None:
    async def run() -> None:
        machine = machine_of(config(tmp_path, {"f16": llama_server}), SystemClock())
        try:
            await measure(machine.places["f16"].ask, "a")
        finally:
            await machine.aclose()

    with pytest.raises(BackendError, match="fewer than two tokens"):
        asyncio.run(run())
    with pytest.raises(ValueError, match="No tokens"):
        perplexity([])


def test_the_command_prints_what_the_configuration_needs(ladder: dict[str, Llama], tmp_path: Path) -> None:
    told = config(tmp_path, ladder)
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    arguments = ["perplexity", "--config", str(told.source), "--data", str(told.data_dir), "--text", str(text)]
    rungs = ["f16/tiny-target", "q8_0/tiny-q8_0", "q4_0/tiny-q4_0"]
    shown = CliRunner().invoke(command, [*arguments, *rungs, "--tokens", "60"])
    assert shown.exit_code == 0, shown.output
    assert "f16/tiny-target: perplexity " in shown.stdout
    assert f"rungs = {json.dumps(rungs)}" in shown.stdout
    value = json.loads(CliRunner().invoke(command, [*arguments, *rungs, "--tokens", "60", "--json"]).stdout)
    assert [row["tokens"] for row in value["models"]] == [60, 60, 60]
    assert f"perplexity = {json.dumps([row['perplexity'] for row in value['models']])}" in shown.stdout


LADDER = """
[[optimizers]]
use = "parameters"
[[optimizers.settings.ladders]]
rungs = ["f16/tiny-target", "q8_0/tiny-q8_0", "q4_0/tiny-q4_0"]
perplexity = [5.80, 5.81, 6.60]
temperature = 0.3
"""


def test_a_side_task_goes_to_the_lower_precision_and_is_answered_there(
    ladder: dict[str, Llama], tmp_path: Path
) -> None:
    body = {"model": "f16/tiny-target", "messages": [{"role": "user", "content": "Name this talk"}], "max_tokens": 8}
    request = Request(Wire.OPENAI_CHAT, json.dumps(body).encode(), (), "/v1/chat/completions")

    def call(identity: Identity) -> Call:
        target = Target("f16", "tiny-target", Wire.OPENAI_CHAT)
        return Call("c1", identity, request, request, target, 1_800_000_000.0)

    async def run() -> None:
        async with build(config(tmp_path, ladder, LADDER)) as app:
            async with asyncio.timeout(60):
                while not all(place.asked for place in app.machine.places.values()):  # noqa: ASYNC110 - in the background
                    await asyncio.sleep(0.01)
            async with await app.pipeline.open(call(Identity(housekeeping="title"))) as reply:
                answer = json.loads(await reply.read())
            assert answer["model"] == "tiny-q8_0"  # q4_0 loses more than five percent
            (step,) = [step for step in reply.trail if step.optimizer == "parameters"]
            assert step.verdict is Verdict.ACCEPTED
            assert "perplexity 5.8 to 5.81 (+0.17%); temperature 0.3" in step.why
            async with await app.pipeline.open(call(Identity())) as reply:
                assert json.loads(await reply.read())["model"] == "tiny-target"

    asyncio.run(run())
