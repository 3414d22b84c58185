"""The recorder writes what it was told to, where it was told to, and never more."""

from __future__ import annotations

import asyncio
import stat
import time
from pathlib import Path

import msgspec
import pytest

from pennyweight.call import Call, Identity, Outcome, Target
from pennyweight.capture import Recorder, Rule, read_rule, write_rule
from pennyweight.replay.readers import read
from pennyweight.request import Done, Operation, Request, Response, Usage, Wire
from pennyweight.testing.clock import FakeClock

SECRETS = (("authorization", "Bearer sk-secret"), ("x-api-key", "sk-secret"), ("x-session-id", "s1"))


def outcome(session: str, turn: int = 0, agent: str = "", operation: Operation = Operation.GENERATE) -> Outcome:
    messages = [{"role": "user", "content": f"confidential {n}"} for n in range(turn + 1)]
    raw = msgspec.json.encode({"model": "m", "messages": messages})
    request = Request(Wire.OPENAI_CHAT, raw, SECRETS, "/v1/chat/completions", operation=operation)
    target = Target("openai", "m", Wire.OPENAI_CHAT)
    call = Call(f"c{turn}", Identity(session=session, agent=agent), request, request, target, 1_800_000_000.0 + turn)
    usage = Usage(input_tokens=10, output_tokens=2)
    answer = msgspec.json.encode({"choices": [{"message": {"role": "assistant", "content": "confidential answer"}}]})
    return Outcome(call, Done(usage), 200, "openai", response=Response(Wire.OPENAI_CHAT, answer, Done(usage)))


def take(recorder: Recorder, *outcomes: Outcome) -> None:
    async def main() -> None:
        for one in outcomes:
            await recorder.take([one])

    asyncio.run(main())


def test_off_by_default(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, clock=FakeClock())
    assert not recorder.wants(outcome("s1").call)
    take(recorder, outcome("s1"))
    assert list(tmp_path.iterdir()) == []


def test_chosen_sessions_are_written_and_read_again(tmp_path: Path) -> None:
    write_rule(tmp_path, Rule(sessions=("s1",), agents=("main",)))
    recorder = Recorder(tmp_path, clock=FakeClock())
    take(recorder, *(outcome("s1", turn) for turn in range(3)), outcome("s2"), outcome("s3", agent="main"))
    files = sorted((tmp_path / "captures").iterdir())
    assert [path.name[:2] for path in files] == ["s1", "s3"]
    calls = read(files[0])
    assert [len(call.body["messages"]) for call in calls] == [1, 2, 3]
    assert calls[2].usage == Usage(input_tokens=10, output_tokens=2)
    assert calls[2].t == 2.0
    assert calls[2].answer == {"choices": [{"message": {"role": "assistant", "content": "confidential answer"}}]}
    assert calls[2].request.raw == outcome("s1", 2).call.original.raw


def test_calls_that_end_together_are_written_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rule(tmp_path, Rule(sessions=("s1",)))
    recorder = Recorder(tmp_path, clock=FakeClock())
    write = recorder._write

    def slowly(one: Outcome, rule: Rule) -> None:
        time.sleep(0.02 if one.call.id == "c0" else 0)  # the first to begin is the last to get its turn
        write(one, rule)

    monkeypatch.setattr(recorder, "_write", slowly)

    async def main() -> None:
        await asyncio.gather(*(recorder.take([outcome("s1", turn)]) for turn in range(4)))

    asyncio.run(main())
    (path,) = (tmp_path / "captures").iterdir()
    assert [len(call.body["messages"]) for call in read(path)] == [1, 2, 3, 4]


def test_no_key_is_written_and_nobody_else_can_read(tmp_path: Path) -> None:
    write_rule(tmp_path, Rule(sessions=("*",)))
    take(Recorder(tmp_path, clock=FakeClock()), outcome("s1"))
    (path,) = (tmp_path / "captures").iterdir()
    assert b"secret" not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "capture.json").stat().st_mode) == 0o600


def test_redacted_captures_hold_no_text(tmp_path: Path) -> None:
    write_rule(tmp_path, Rule(sessions=("*",), redact=True))
    take(Recorder(tmp_path, clock=FakeClock()), outcome("s1"), outcome("s1", 1))
    (path,) = (tmp_path / "captures").iterdir()
    assert b"confidential" not in path.read_bytes()
    first, second = read(path)
    assert second.body["messages"][0] == first.body["messages"][0]


def test_a_running_gateway_notices_the_rule_within_a_second(tmp_path: Path) -> None:
    clock = FakeClock()
    recorder = Recorder(tmp_path, clock=clock)
    call = outcome("s1").call
    assert not recorder.wants(call)
    write_rule(tmp_path, Rule(sessions=("s*",)))
    clock.advance(1.0)
    assert recorder.wants(call)
    assert not recorder.wants(outcome("s1", operation=Operation.COUNT).call)
    write_rule(tmp_path, None)
    clock.advance(1.0)
    assert not recorder.wants(call)
    assert read_rule(tmp_path) is None


def test_sessions_with_odd_names_stay_in_the_folder_and_apart(tmp_path: Path) -> None:
    write_rule(tmp_path, Rule(sessions=("*",)))
    take(Recorder(tmp_path, clock=FakeClock()), outcome("../../etc/passwd"), outcome("..*..*etc*passwd"), outcome(""))
    assert len(list((tmp_path / "captures").iterdir())) == 3


def test_a_second_run_writes_a_second_file(tmp_path: Path) -> None:
    write_rule(tmp_path, Rule(sessions=("*",)))
    for _ in range(2):
        take(Recorder(tmp_path, clock=FakeClock()), outcome("s1"))
    files = list((tmp_path / "captures").iterdir())
    assert len(files) == 2
    assert all(len(read(path)) == 1 for path in files)


def test_a_capture_that_cannot_be_written_costs_no_answer(tmp_path: Path) -> None:
    write_rule(tmp_path, Rule(sessions=("*",), out=str(tmp_path / "file" / "folder")))
    (tmp_path / "file").write_text("in the way")
    take(Recorder(tmp_path, clock=FakeClock()), outcome("s1"))
