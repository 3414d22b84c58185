from __future__ import annotations

import re

import pytest
from tests.effort import within

from pennyweight.text.compression import Ask, detect
from pennyweight.text.compression.codecs.traces import reduced

PYTHON = [
    "Traceback (most recent call last):",
    '  File "/w/app/main.py", line 9, in main',
    "    serve(app)",
    "    ^^^^^^^^^^",
]
for _i in range(12):
    PYTHON += [
        f'  File "/usr/lib/python3.11/site-packages/web/mod{_i}.py", line {_i}, in call',
        "    return self.app(scope)",
    ]
PYTHON += [
    '  File "/w/app/orders.py", line 41, in total',
    "    return price[0]",
    "IndexError: list index out of range: order 4711",
]
JAVA = [
    'Exception in thread "main" java.lang.IllegalStateException: order 4711 is lost',
    "\tat com.acme.Orders.find(Orders.java:41)",
]
JAVA += [f"\tat org.springframework.web.Filter{i}.doFilter(Filter.java:{i})" for i in range(20)]
JAVA += ["\tat com.acme.Main.main(Main.java:9)", "Caused by: java.io.IOException: disk is full", "\t... 22 more"]
NODE = ["TypeError: Cannot read properties of undefined (reading 'price')", "    at total (/w/app/orders.js:41:7)"]
NODE += [f"    at Layer{i}.handle (/w/app/node_modules/express/lib/layer.js:{i}:5)" for i in range(9)]
NODE += [
    "    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)",
    "    at main (/w/app/main.js:3:1)",
]
GO = ["panic: runtime error: index out of range [3] with length 3", "", "goroutine 1 [running]:"]
GO += ["main.total(0xc000012345, {0x1, 0x2})", "\t/w/app/orders.go:41 +0x1d"]
for _i in range(8):
    GO += [f"net/http.(*conn).serve{_i}(0xc0000{_i})", f"\t/usr/local/go/src/net/http/server.go:{_i} +0x5"]
GO += [
    "created by net/http.(*Server).Serve in goroutine 1",
    "\t/usr/local/go/src/net/http/server.go:3086 +0x5cb",
    "exit status 2",
]
RUST = ["thread 'main' panicked at src/orders.rs:41:7:", "index out of bounds: the len is 3", "stack backtrace:"]
for _i in range(9):
    RUST += [f"   {_i}: core::panicking::panic_{_i}", "             at /rustc/abc/library/core/src/panicking.rs:72:14"]
RUST += ["  10: app::orders::total", "             at ./src/orders.rs:41:7"]
DOTNET = [
    "Unhandled exception. System.InvalidOperationException: order 4711 is lost",
    "   at Acme.Orders.Find(Int32 id) in /w/Orders.cs:line 41",
]
DOTNET += [f"   at System.Linq.Enumerable.First{i}[T](IEnumerable`1 source)" for i in range(9)] + [
    "   at Acme.Main() in /w/Main.cs:line 3"
]
ALL = {"python": PYTHON, "java": JAVA, "node": NODE, "go": GO, "rust": RUST, "dotnet": DOTNET}
OWN = re.compile(r"/w/|acme|Acme|app::|\./src|4711|Error|panic|Caused|main\.total")


@pytest.mark.parametrize("name", ALL)
def test_exceptions_and_own_frames_stay_and_libraries_are_counted(name: str) -> None:
    lines = ALL[name]
    text = "\n".join(lines)
    assert detect(text) == "trace"
    form = reduced(text, Ask(), 10, lambda what: f"[{what} left out]")
    assert form is not None
    kept = form.text.split("\n")
    rest = iter(lines)
    assert all(line in rest for line in kept if not line.startswith("["))
    own = [
        line for line in lines if OWN.search(line) and not re.search(r"node_modules|site-packages|core::|rustc", line)
    ]
    assert [line for line in kept if line in set(own)] == own
    assert re.search(r"^\[\+\d+ frames of libraries\]$", form.text, re.MULTILINE)
    assert len(form.text) < 0.75 * len(text)


def test_the_source_line_of_an_own_frame_stays_under_it() -> None:
    form = reduced("\n".join(PYTHON), Ask(), 10, str)
    assert form is not None
    assert "\n".join(PYTHON[1:4]) in form.text
    assert "\n".join(PYTHON[-3:]) in form.text


def test_equal_frames_are_there_once_and_then_named_by_their_lines() -> None:
    lines = [*JAVA, "retrying", *JAVA]
    form = reduced("\n".join(lines), Ask(), 10, str)
    assert form is not None
    assert form.text.count("com.acme.Orders.find") == 1
    assert "[+22 frames, as in lines 2-23]" in form.text
    assert form.text.count("order 4711 is lost") == 2


def test_what_the_reader_names_stays_though_it_is_a_library() -> None:
    form = reduced("\n".join(JAVA), Ask(query="look at Filter7.doFilter"), 10, str)
    assert form is not None
    assert JAVA[9] in form.text.split("\n")


def test_a_trace_of_own_frames_stays_as_it_is() -> None:
    lines = ["Error: x", *(f"    at f{i} (/w/app/a.js:{i}:1)" for i in range(9))]
    assert reduced("\n".join(lines), Ask(), 10, str) is None


@pytest.mark.parametrize("piece", ["at ", " at a", "a.", "a(", "::", 'File "', "#1 ", "1: ", "x:", "/w", "\tat "])
def test_hostile_lines_cost_no_more_than_their_length(piece: str) -> None:
    line = (piece * 2_000)[:1_999]
    text = "\n".join(["panic: x", *[line, "\t/a/b.go:1", " " + line, "  1: " + line] * 100])

    def work() -> None:
        detect(text)
        reduced(text, Ask(), 10, str)

    assert within(3.0, work)
