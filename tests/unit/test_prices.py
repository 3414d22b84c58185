"""The price book: whose price a model has, when; its file; and the command over it."""

from __future__ import annotations

import datetime as dt
import json
import random
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import pennyweight.prices
from pennyweight.cli.prices import command
from pennyweight.errors import ConfigError, NotFound, PennyweightError, Unreachable
from pennyweight.money import cost, in_force
from pennyweight.prices import PriceBook, PriceOverride, open_book, read_overrides
from pennyweight.prices.catalogue import Clause, decode, read_catalogue
from pennyweight.prices.spec import BandSpec, moment
from pennyweight.request import Charge, Usage

NOW = moment("2026-11-20T12:00:00Z")
SHIPPED = Path(pennyweight.prices.__file__).with_name("catalogue.json")


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return open_book()


def rate(book: PriceBook, provider: str, model: str, kind: str = "input", when: str | None = None) -> object:
    price = book.price(provider, model, NOW if when is None else moment(when))
    return None if price is None else getattr(price.rates, kind)


# --- what is known ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "input", "output"),
    [
        ("anthropic", "claude-opus-5-5", 4_000_000, 20_000_000),
        ("anthropic", "claude-haiku-5-5-20260901", 100_000, 500_000),
        ("anthropic", "claude-fable-5-1", 10_000_000, 50_000_000),
        ("openai", "gpt-5.6-sol", 4_000_000, 20_000_000),
        ("openai", "gpt-5.2-20251211", 1_750_000, 14_000_000),  # a compact date
        ("moonshot", "kimi-k3", 3_000_000, 15_000_000),  # the provider by another name
        ("xai", "grok-4.5", 2_000_000, 6_000_000),
        ("minimax", "minimax-m2.7", 300_000, 1_200_000),
        ("openrouter", "anthropic/claude-opus-5.5", 4_000_000, 20_000_000),
        ("openrouter", "deepseek/deepseek-r1:free", 0, 0),
        ("groq", "openai/gpt-oss-120b", 150_000, 600_000),
        ("fireworks", "accounts/fireworks/models/kimi-k3", 3_000_000, 15_000_000),
        ("my-own-url", "claude-opus-5.5", 4_000_000, 20_000_000),  # by its maker
        ("my-own-url", "anthropic/claude-opus-5.5", 4_000_000, 20_000_000),
        ("openai", "kimi-k3", 3_000_000, 15_000_000),  # OPENAI_BASE_URL moved
        ("", "GPT-5.6-Sol", 4_000_000, 20_000_000),
    ],
)
def test_a_model_has_its_list_price(book: PriceBook, provider: str, model: str, input: int, output: int) -> None:
    assert rate(book, provider, model) == input
    assert rate(book, provider, model, "output") == output
    assert book.known(provider, model)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "fake-model"),
        ("", "fake-model"),
        ("anthropic", "fake-model"),
        ("openrouter", "nobody/fake-model"),
        ("groq", "claude-opus-5-5"),  # no seller of it, so its maker's price is not asked
        ("dashscope", "qwen-of-tomorrow"),
        ("ollama", "gpt-oss:120b-cloud"),
        ("openai", ""),
        ("openai", "/"),
        ("openai", "whisper-1"),  # has a price, but none for tokens
    ],
)
def test_what_is_not_known_has_no_price_rather_than_none_to_pay(book: PriceBook, provider: str, model: str) -> None:
    assert book.price(provider, model, NOW) is None
    assert not book.known(provider, model)
    assert book.cost(Charge(provider, model, Usage(input_tokens=1), NOW)) is None


def test_local_models_cost_nothing_by_the_token(book: PriceBook) -> None:
    assert book.cost(Charge("ollama", "llama3.2:3b", Usage(input_tokens=9, output_tokens=9), NOW)) == 0
    price = book.price("ollama", "llama3.2:3b", NOW)
    assert price is not None
    assert price.free


def test_a_price_holds_from_its_date(book: PriceBook) -> None:
    assert rate(book, "openai", "gpt-5.6-sol", when="2026-08-20T23:59:59Z") == 5_000_000
    assert rate(book, "openai", "gpt-5.6-sol", when="2026-08-21") == 4_000_000


def test_a_past_price_that_the_catalogue_forgot_is_corrected(book: PriceBook) -> None:
    model = "claude-sonnet-5-5-20260801"
    assert rate(book, "anthropic", model, "cache_read", "2026-10-06T23:59:59Z") == 200_000
    assert rate(book, "anthropic", model, "cache_read", "2026-10-07") == 100_000


def test_corrections_end_and_name_models_of_the_catalogue(book: PriceBook) -> None:
    for entry, _ in book.corrections:
        assert entry.until is not None
        assert entry.source
        assert entry.model in {listed.id for listed in book.catalogue.providers[entry.provider].entries}


def test_deepseek_peak_hours_double_on_weekdays_only(book: PriceBook) -> None:
    def bill(when: str) -> int | None:
        return book.cost(Charge("deepseek", "deepseek-v4-pro", Usage(input_tokens=1000), moment(when)))

    assert bill("2026-11-20T01:00:00Z") == 2 * 660_000 * 1000
    assert bill("2026-11-20T04:00:00Z") == 660_000 * 1000
    assert bill("2026-11-21T01:00:00Z") == 660_000 * 1000  # a Saturday


def test_bands_and_tiers_come_with_the_catalogue(book: PriceBook) -> None:
    haiku = book.price("anthropic", "claude-haiku-5-5", NOW)
    assert haiku is not None
    assert cost(Usage(input_tokens=100_000), haiku, at=NOW) == 100_000 * 100_000
    assert cost(Usage(input_tokens=100_001), haiku, at=NOW) == 100_001 * 500_000
    priority = Usage(input_tokens=10, tier="priority")
    assert book.cost(Charge("openai", "gpt-5.6-sol", priority, NOW)) == 10 * 8_000_000


# --- overrides ----------------------------------------------------------------------------------------------


def with_overrides(*entries: dict[str, Any], **more: Any) -> PriceBook:
    return open_book(overrides=read_overrides(entries), **more)


def test_an_override_comes_first_while_it_is_in_force() -> None:
    own = with_overrides(
        {"provider": "openai", "model": "gpt-5.6-sol", "input": "1", "output": 2, "until": "2026-11-01"}
    )
    assert rate(own, "openai", "gpt-5.6-sol", when="2026-10-31") == 1_000_000
    assert rate(own, "openai", "gpt-5.6-sol") == 4_000_000
    assert rate(own, "elsewhere", "gpt-5.6-sol", when="2026-10-31") == 4_000_000  # its provider is another


def test_the_closest_override_counts() -> None:
    own = with_overrides(
        {"model": "my-*", "input": 1, "output": 1},
        {"model": "my-big-*", "input": 2, "output": 2},
        {"model": "my-big-one", "input": 3, "output": 3},
        {"model": "my-big-one", "provider": "Lab", "input": 4, "output": 4},
    )
    asked = [("x", "my-small"), ("x", "my-big-two"), ("x", "MY-BIG-ONE"), ("lab", "my-big-one")]
    assert [rate(own, *who) for who in asked] == [1_000_000, 2_000_000, 3_000_000, 4_000_000]


def test_periods_of_one_override_follow_each_other() -> None:
    mine = {"model": "mine", "output": "0"}
    own = with_overrides({**mine, "input": "1", "until": "2026-11-01"}, {**mine, "input": 0.5, "from": "2026-11-01"})
    assert rate(own, "x", "mine", when="2026-10-31T23:59:59Z") == 1_000_000
    assert rate(own, "x", "mine", when="2026-11-01") == 500_000


def test_a_local_provider_can_have_a_price_all_the_same() -> None:
    own = with_overrides({"provider": "ollama", "model": "big", "input": "1", "output": "1"}, local=["ollama", "lab"])
    assert rate(own, "ollama", "big") == 1_000_000
    assert rate(own, "lab", "anything") == 0


def test_a_configured_provider_may_go_by_its_name_in_the_catalogue() -> None:
    assert rate(open_book(names={"Work": "deepseek"}), "work", "deepseek-v4-pro") == 660_000
    assert rate(open_book(names={"work": "groq"}), "work", "deepseek-v4-pro") is None


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"model": "m"}, "`input` and `output`"),
        ({"input": "1", "output": "1"}, "model"),
        ({"model": "m", "input": "cheap", "output": "1"}, "cheap"),
        ({"model": "m", "input": "1", "output": "1", "cashe_read": "1"}, "cashe_read"),
        ({"model": "m", "input": "1", "output": "1", "from": dt.date(2026, 11, 1)}, "entry 1"),
        ({"model": "m", "input": "1", "output": "1", "bands": [{"input": "2"}]}, "above_input_tokens"),
    ],
)
def test_an_override_that_is_no_price_says_which_and_why(entry: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match="prices") as raised:
        read_overrides([entry])
    assert says in raised.value.message


def test_an_override_built_in_code_is_checked_too(book: PriceBook) -> None:
    bad = PriceOverride(model="m", input="1", output="1", bands=[BandSpec(above_input_tokens=-1)])
    with pytest.raises(ConfigError, match="'m'"):
        PriceBook(book.catalogue, overrides=[bad])


def test_names_from_callers_do_not_fill_the_memory(book: PriceBook) -> None:
    for number in range(5000):
        book.price("nobody", f"model-{number}", NOW)
    assert len(book._quotes) <= 4096


# --- the catalogue's file -----------------------------------------------------------------------------------


def test_the_shipped_catalogue_is_what_the_installed_library_says() -> None:
    genai = pytest.importorskip("pennyweight.prices.genai")
    shipped = decode(SHIPPED.read_bytes())
    if shipped.source != f"genai-prices {genai.version}":
        pytest.skip(f"shipped from {shipped.source}, installed is {genai.version}")
    made = genai.bundled(shipped.made)
    assert made == SHIPPED.read_bytes(), f"run: python -m pennyweight.prices.genai {shipped.made}"


def test_bills_agree_with_the_library_that_the_prices_come_from(book: PriceBook) -> None:
    """Every model of every provider in the library's data, at the hours when its windows and ours agree."""
    import genai_prices
    from genai_prices import data

    pick = random.Random(1)
    compared = 0
    for provider in data.providers:
        listed = {entry.id: entry for entry in book.catalogue.providers[provider.id].entries}
        for model in provider.models:
            at = dt.datetime(2026, 11, 18, 23, pick.randrange(60), tzinfo=dt.UTC)
            entry = listed.get(model.id)
            if entry is None or model.id.endswith(":free"):
                continue
            read, wrote, plain = (pick.randrange(150_000) for _ in range(3))
            usage = Usage(read + wrote + plain, read, wrote, 0, pick.randrange(9000))
            theirs = model.calc_price(
                genai_prices.Usage(
                    input_tokens=usage.input_tokens,
                    cache_read_tokens=read,
                    cache_write_tokens=wrote,
                    output_tokens=usage.output_tokens,
                ),
                provider,
                genai_request_timestamp=at,
            ).total_price
            ours = in_force(entry.periods, at.timestamp())
            assert ours is not None
            assert cost(usage, ours, at=at.timestamp()) == round(theirs * 10**12), (provider.id, model.id)
            compared += 1
    assert compared > 2000


def test_reading_prices_needs_no_other_library() -> None:
    code = "import sys, pennyweight.prices as p; p.open_book().price('openai', 'gpt-5.6-sol', 0); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"genai_prices", "pydantic", "httpx2", "rich", "click"} & set(loaded)


def test_names_match_by_every_kind_of_rule() -> None:
    both = Clause(all_of=[Clause(starts_with="a"), Clause(any_of=[Clause(ends_with="z"), Clause(regex=r"\d$")])])
    assert [both.matches(name) for name in ("abz", "a1", "b1", "ab")] == [True, True, False, False]
    assert Clause(equals="").matches("")
    assert not Clause().matches("a")


def test_a_damaged_list_in_the_data_directory_is_loud(tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text("{")
    with pytest.raises(ConfigError, match=r"prices\.json.*prices update"):
        open_book(tmp_path)


def test_the_newer_of_shipped_and_fetched_counts(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text('{"format":1,"source":"old","made":"2020-01-01T00:00:00Z","providers":{}}')
    assert read_catalogue(tmp_path).source.startswith("genai-prices")
    file.write_text('{"format":1,"source":"new","made":"2099-01-01T00:00:00Z","providers":{}}')
    assert read_catalogue(tmp_path).source == "new"
    file.write_text('{"format":9,"source":"new","made":"2099-01-01T00:00:00Z","providers":{}}')
    with pytest.raises(ConfigError, match="format is 9"):
        read_catalogue(tmp_path)


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    for name in ("PENNYWEIGHT_CONFIG", "PENNYWEIGHT_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    (tmp_path / "pennyweight.toml").write_text(
        'data_dir = "data"\n[[prices]]\nmodel = "my-model"\ninput = 1.25\noutput = "10"\ncache_read = "0.0056"\n'
    )

    def run(*args: str) -> Result:
        return CliRunner().invoke(command, [*args], catch_exceptions=True)

    return run


def test_show_tells_every_rate(run: Any) -> None:
    shown = run("show", "claude-haiku-5-5", "--json", "--at", "2026-11-20")
    answer = json.loads(shown.output)
    assert answer["usd"]["input"] == "0.1"
    assert answer["bands"][0]["above_input_tokens"] == 100_000
    assert answer["origin"] == "catalogue"
    plain = run("show", "deepseek-v4-pro", "--at", "2026-11-20T02:00:00Z").output
    assert "0.66" in plain
    assert "01:00 to 04:00 UTC (now)" in plain


def test_own_prices_are_listed_first(run: Any) -> None:
    answer = json.loads(run("show", "my-model", "--json").output)
    assert (answer["origin"], answer["usd"]["cache_read"]) == ("override", "0.0056")
    listed = json.loads(run("--json").output)
    assert listed[0]["model"] == "my-model"
    assert len(listed) > 2000
    assert "own prices: 1." in run().output
    assert "my-model" in run("--filter", "my-").output


def test_an_unknown_model_says_how_to_add_it(run: Any) -> None:
    result = run("show", "fake-model", "--provider", "lab")
    assert isinstance(result.exception, NotFound)
    for words in ("unpriced", "[[prices]]", 'model = "fake-model"', 'provider = "lab"'):
        assert words in result.exception.message


def test_a_date_that_is_none_is_refused(run: Any) -> None:
    result = run("show", "gpt-5.6-sol", "--at", "soon")
    assert result.exit_code == 2
    assert "soon" in result.output


Answers = dict[str, tuple[int, bytes]]


@pytest.fixture
def published() -> Iterator[tuple[str, Answers]]:
    """A loopback server that publishes what is put in the dictionary, by path."""
    answers: Answers = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, b""))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", answers
        server.shutdown()
        thread.join()


def listing(count: int) -> bytes:
    """A list in the shape that the genai-prices project publishes."""
    models = [
        {"id": f"model-{n}", "match": {"equals": f"model-{n}"}, "prices": {"input_mtok": "7.5"}} for n in range(count)
    ]
    provider = {
        "id": "lab",
        "name": "Lab",
        "api_pattern": "lab",
        "models": models,
        "model_match": {"starts_with": "model-"},
    }
    return json.dumps([provider]).encode()


def test_update_fetches_reads_and_replaces(run: Any, published: tuple[str, Answers], tmp_path: Path) -> None:
    url, answers = published
    answers["/list"] = 200, listing(1500)
    result = run("update", "--url", f"{url}/list")
    assert result.exit_code == 0, result.exception
    assert "1500 models" in result.output
    assert rate(open_book(tmp_path / "data"), "lab", "model-3") == 7_500_000
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["prices.json"]


def test_update_keeps_the_old_list_when_the_new_one_is_bad(
    run: Any, published: tuple[str, Answers], tmp_path: Path
) -> None:
    url, answers = published
    answers["/list"] = 200, listing(1500)
    run("update", "--url", f"{url}/list")
    before = (tmp_path / "data" / "prices.json").read_bytes()
    answers.update({"/html": (200, b"<html>"), "/few": (200, listing(3)), "/object": (200, b'{"a": 1}')})
    wanted: dict[str, tuple[type[PennyweightError], str]] = {
        "/html": (ConfigError, "no list of prices"),
        "/object": (ConfigError, "no list of prices"),
        "/few": (ConfigError, "3 models"),
        "/absent": (Unreachable, "404"),
    }
    for path, (kind, says) in wanted.items():
        error = run("update", "--url", url + path).exception
        assert isinstance(error, kind)
        assert says in error.message
    offline = run("update", "--url", "http://127.0.0.1:9/list").exception
    assert isinstance(offline, Unreachable)
    assert (tmp_path / "data" / "prices.json").read_bytes() == before


def test_decimals_finer_than_a_pico_dollar_stay_exact() -> None:
    own = with_overrides({"model": "m", "input": "0.0833333333", "output": "0"})
    bill = own.cost(Charge("x", "m", Usage(input_tokens=3_000_000), NOW))
    assert bill == Decimal("0.2499999999") * 10**12


def test_the_overrides_in_the_documentation_are_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "prices.md").read_text(encoding="utf-8")
    (sample,) = (block.partition("```")[0] for block in page.split("```toml\n")[1:])
    own = with_overrides(*tomllib.loads(sample)["prices"])
    usage = Usage(input_tokens=300_000)
    assert (
        own.cost(Charge("openai", "my-model", usage, moment("2026-11-30T23:59:59Z"))) == 300_000 * 1_250_000 + 5 * 10**9
    )
    assert own.cost(Charge("openai", "my-model", usage, moment("2026-12-01T02:00:00Z"))) == 300_000 * 2_000_000 * 2


def test_what_is_remembered_of_a_price_holds_as_long_as_the_price() -> None:
    """Asked to and fro in time, a book says what one that was never asked says."""
    mine = {"provider": "openai", "model": "gpt-5.6-sol", "output": 2}
    entries = (
        {**mine, "input": "1", "until": "2026-11-01"},
        {**mine, "input": "2", "from": "2026-11-01", "until": "2026-11-03"},
        {**mine, "input": "3", "from": "2026-11-02", "until": "2026-11-04"},
    )
    asked = with_overrides(*entries)
    moments = [moment(f"2026-11-0{day}") + late for day in range(1, 6) for late in (-1.0, 0.0, 43_200.0)]
    found = {}
    for at in random.Random(4).choices(moments, k=60):
        found[at] = asked.price("openai", "gpt-5.6-sol", at)
        assert found[at] == with_overrides(*entries).price("openai", "gpt-5.6-sol", at)
    assert len({price.rates.input for price in found.values() if price is not None}) == 4  # and the catalogue's own
