from __future__ import annotations

import random
import re

import pytest
from tests.effort import within

from pennyweight.text.compression import Ask, compress, detect
from pennyweight.text.compression.codecs.logs import lossless, reduced, restored
from pennyweight.text.compression.masks import masked, merged

NOTE = re.compile(r"\[\+(\d+)\]")


def service_log(lines: int = 600, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    made = []
    for number in range(lines):
        clock = f"{number % 24:02d}:{rng.randrange(60):02d}:{rng.randrange(60):02d},{rng.randrange(1000):03d}"
        stamp = f"2026-03-{1 + number // 200:02d} {clock} "
        order, source = rng.randrange(10**6), f"10.0.{rng.randrange(9)}.{rng.randrange(250)}"
        made.append(
            rng.choice(
                [
                    f"{stamp}INFO  [http-{rng.randrange(9)}] Orders: order {order} accepted: {rng.randrange(900)} ms",
                    f"{stamp}INFO  [http-{rng.randrange(9)}] api.Orders: order {order} shipped from {source}",
                    f"{stamp}DEBUG [pool-{rng.randrange(9)}] db.Pool: {rng.randrange(30)} connections idle",
                ]
            )
        )
    made[333] = "2026-03-02 13:00:01,002 ERROR [http-3] api.Orders: order 4711 lost: disk /dev/sdb1 is full"
    made[444] = "2026-03-03 01:00:01,002 WARN  [pool-1] db.Pool: connection 17 was closed by the peer"
    return made


def short(lines: list[str], ask: Ask = Ask(), room: int = 4_000) -> list[str]:  # noqa: B008 - frozen
    form = reduced("\n".join(lines), ask, room, lambda what: f"[{what} left out]")
    assert form is not None
    return form.text.split("\n")


def test_every_template_of_line_stands_there_verbatim() -> None:
    lines = service_log()
    kept = short(lines)
    assert {masked(line) for line in kept} >= {masked(line) for line in lines}
    assert lines[333] in kept
    assert lines[444] in kept
    assert len(kept) < 60


def test_every_line_is_one_of_the_texts_in_its_order_or_a_note() -> None:
    lines = service_log()
    rest = iter(lines)
    for line in short(lines)[1:]:
        assert NOTE.fullmatch(line) or line in rest


def test_the_counts_add_up_to_the_lines() -> None:
    lines = service_log()
    kept = short(lines)[1:]
    hidden = sum(int(found[1]) for line in kept if (found := NOTE.fullmatch(line)))
    assert hidden + sum(not NOTE.fullmatch(line) for line in kept) == len(lines)


def test_the_first_and_the_last_line_are_there() -> None:
    lines = service_log()
    kept = short(lines)
    assert kept[1] == lines[0]
    assert lines[-1] in kept


def test_what_the_reader_names_is_kept() -> None:
    lines = service_log()
    named = next(line for line in lines[100:] if "order" in line)
    order = re.search(r"order (\d+)", named)
    assert order is not None
    assert named in short(lines, Ask(query=f"What became of order #{order[1]}-x, I mean {order[1]}?"))
    assert named not in short(lines)


def test_a_name_that_is_in_every_line_keeps_none() -> None:
    lines = service_log()
    assert len(short(lines, Ask(arguments='{"path": "api.Orders:"}'))) < 60


def test_the_lossless_form_gives_back_the_text_exactly() -> None:
    stamps = [f"2026-11-20 20:0{i // 10 % 10}:05 " for i in range(60)]
    text = "\n".join(f"{stamp}status installed lib{i}:amd64 1.{i}" for i, stamp in enumerate(stamps)) + "\n"
    form = lossless(text)
    assert form is not None
    assert len(form) < 0.8 * len(text)
    assert restored(form) == text


@pytest.mark.parametrize(
    "lines", [['" quoted'] + ["2026-11-20 20:00:05 a"] * 50, ["[+3]", *["2026-11-20 20:00:05 a"] * 50]]
)
def test_a_log_that_imitates_our_notes_gets_none(lines: list[str]) -> None:
    assert lossless("\n".join(lines)) is None or lines[0] == '" quoted'
    if lines[0].startswith("["):
        assert reduced("\n".join(lines), Ask(), 400, str) is None


def test_templates_differ_by_words_and_not_by_values() -> None:
    a = masked("Jun 14 15:16:01 combo sshd[19939]: Failed password for root from 218.188.2.4 port 2191 ssh2")
    b = masked("Jul  1 03:01:59 other sshd[2]: Failed password for root from 10.0.0.1 port 9 ssh2")
    c = masked("Jul  1 03:01:59 other sshd[2]: Accepted password for root from 10.0.0.1 port 9 ssh2")
    assert a.replace("Jun", "").split() == b.replace("Jul", "").split()
    assert c != b
    assert masked("state 6") == masked("state 77")
    assert masked("req 7f3a91c2-0000-4a4a-8b8b-001122334455 ok") == masked(
        "req 00000000-1111-2222-3333-abcdefabcdef ok"
    )
    assert masked("link up on 00:1a:2b:3c:4d:5e") == masked("link up on aa:bb:cc:dd:ee:0f")
    assert masked("IPv4 address") != masked("IPv6 address")


def test_what_a_request_or_a_program_ended_with_is_no_mere_value() -> None:
    assert masked('"GET /a HTTP/1.1" 200 17') == masked('"GET /a HTTP/1.1" 204 0')
    assert masked('"GET /a HTTP/1.1" 200 17') != masked('"GET /a HTTP/1.1" 502 17')
    assert masked('{"status": 200}') != masked('{"status": 404}')
    assert masked("job 7 exit code 0") != masked("job 8 exit code 3")
    assert masked("job 7 exit code 2") == masked("job 8 exit code 3")


def test_words_are_values_only_where_many_stand_in_one_place() -> None:
    users = [f"user {''.join(chr(97 + (i * 7 + j) % 26) for j in range(5))} logged in from H" for i in range(26)]
    states = [f"the service is now {state} on node H" for state in ("up", "down", "draining", "lost")]
    under = merged(masked(line) for line in users + states)
    assert len({under[masked(line)] for line in users}) == 1
    assert len({under[masked(line)] for line in states}) == 4


def test_of_two_values_only_the_one_that_is_many_is_masked() -> None:
    users = [
        f'level=info msg="user logged {how}" user={chr(97 + n)}{chr(122 - n)}x'
        for n in range(25)
        for how in ("in", "out")
    ]
    under = merged(masked(line) for line in users)
    assert len(set(under.values())) == 2
    paths = [f'"GET /{chr(97 + n)}{chr(97 + n)}/list HTTP/1.1" done' for n in range(25)]
    assert len(set(merged(masked(line) for line in paths).values())) == 1


@pytest.mark.parametrize(
    "row",
    [
        "[{n:5d}.123456] usb 1-{n}: new device number {n} using xhci_hcd",
        "I, [2026-02-01T12:00:01.{n:06d} #{n}]  INFO -- : Completed 200 OK in {n}ms",
        'web-1  | 10.0.0.{n} - - [01/Feb/2026 12:00:01] "GET /{n} HTTP/1.1" 200 -',
        '{{"eventTime": "2026-02-01T00:00:01.{n:03d}Z", "eventName": "GetObject", "requestID": "a{n}"}}',
        "20171223-22:15:29:{n:03d}|Step|30002312|onStandStepChanged {n}",
        "     2026-02-01 12:00:01 INFO indented by whoever quoted it: {n}",
        "2026-02-01 12:00:01 INFO of Windows: {n}\r",
        "the worker {n} has copied the file {n} to its place",
        "nova-api.log.1.2017-05-16_13:53:08 2017-05-16 00:00:00.{n:03d} 25746 INFO nova.server [req-{n}] is up",
    ],
)
def test_a_log_is_told_by_its_lines(row: str) -> None:
    assert detect("\n".join(row.format(n=n) for n in range(400))) == "log"


def test_json_lines_are_a_log_and_stay_json() -> None:
    lines = [
        f'{{"time":"2026-01-01T00:00:{i % 60:02d}Z","level":"info","msg":"request done","path":"/v1/{i}","ms":{i}}}'
        for i in range(200)
    ]
    lines[77] = '{"time":"2026-01-01T00:00:17Z","level":"error","msg":"upstream is gone","code":502}'
    assert detect("\n".join(lines)) == "log"
    kept = short(lines)
    assert lines[77] in kept
    assert len(kept) < 12


def test_lines_of_other_languages_are_kept_just_so() -> None:
    lines = [f"2026-01-01 00:00:{i % 60:02d} 信息 订单 {i} 已完成，用时 {i * 3} 毫秒" for i in range(100)]
    lines += [f"2026-01-01 00:01:{i % 60:02d} Bestellung {i} geprüft: {i},5 Stück" for i in range(100)]
    lines += [f"2026-01-01 00:02:{i % 60:02d} सूचना आदेश {i} पूरा हुआ" for i in range(100)]
    lines[50] = "2026-01-01 00:00:50 错误 磁盘 /dev/sda 已满"
    assert detect("\n".join(lines)) == "log"
    kept = short(lines)
    assert lines[50] in kept
    assert lines[0] in kept
    assert lines[100] in kept
    assert lines[200] in kept


def test_what_is_no_log_is_not_taken_for_one() -> None:
    assert detect("\n".join(f"drwxr-xr-x 2 u u 4096 Nov 20 21:{i:02d} dir{i}" for i in range(40))) != "log"
    assert detect("\n".join(f"def f{i}(x):\n    return x + {i}" for i in range(40))) != "log"
    assert detect("\n".join(f"2026-01-{1 + i % 28:02d},{i},{i * 2},x" for i in range(40))) != "log"
    assert detect("Some prose. It goes on for long.\n" * 10) != "log"


def test_a_text_whose_lines_are_all_of_their_own_kind_stays() -> None:
    rng = random.Random(5)
    lines = [" ".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=40)) for _ in range(300)]
    assert reduced("\n".join(lines), Ask(), 1_000, str) is None


@pytest.mark.parametrize(
    "line",
    [piece * 50_000 for piece in ("-", "1.", "a-", "/a", '"', "a=", "ff:", "a.b", "x1-", "::", "a1b2", "com.", "]:")],
)
def test_hostile_lines_cost_no_more_than_their_length(line: str) -> None:
    text = "\n".join([line] * 4 + [f"2026-01-01 00:00:00 INFO {line[:50]} {i}" for i in range(50)])
    assert within(
        3.0, lambda: compress(text, count=len, kind="log", room_tokens=100, reference="r", ask=Ask(query=line[:100]))
    )


def test_late_means_untouched() -> None:
    text = "\n".join(service_log())
    made = compress(text, count=len, room_tokens=500, reference="r", late=lambda: True)
    assert made.text == text
    assert not made.changed
