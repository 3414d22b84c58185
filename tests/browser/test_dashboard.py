"""The dashboard in Chromium: every view clicked through, figures held to the ledger, keyboard, dark, phone, axe."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.browser.chromium import NoChromium, chromium
from tests.browser.rig import NASTY, Rig, Watch

from pennyweight.hits import Audit, Pair
from pennyweight.ledger.report import Query, summary
from pennyweight.stores.virtual_keys import KeyStore
from pennyweight.testing.contracts import sample_receipt

VIEWS = (
    "Overview",
    "Breakdown",
    "Sessions",
    "Live calls",
    "Caches",
    "Optimizers",
    "Doctor",
    "Advice",
    "Budgets",
    "Prices",
)
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {**DESKTOP, "color_scheme": "light"},
    "dark": {**DESKTOP, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        found = chromium()
    except NoChromium as why:
        pytest.skip(str(why))
    with sync_playwright() as playwright:
        env: dict[str, str | float | bool] = {**os.environ, **found.env}
        yield playwright.chromium.launch(executable_path=found.path, args=found.args, env=env)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Demo traffic, some of it answered from the cache; a call without a price; names that are no names; a limit."""
    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        rig.play(8)
        rig.play_kept()
        rig.play_kept()
        now = time.time()
        rig.write(
            sample_receipt("odd", at=now, tenant="local", model=NASTY, session=NASTY, agent="", status=500),
            sample_receipt("old", at=now - 3 * 86_400, tenant="local", basis="computed"),
            sample_receipt("unpriced", at=now, cost=None, baseline=None, pricing="unpriced", basis="", model="odd-one"),
        )
        KeyStore(rig.data).add("ann", daily_usd=5)
        pair = Pair(f"What is {NASTY}?", "A picture.", f"No picture. {NASTY}", "What was it?")
        rig.audited(Audit("semantic_cache", valid=False, route="chat", call_id="audited", pair=pair))
        rig.audited(Audit("semantic_cache", valid=False, tenant="ann", pair=Pair("Ann's own question", "a", "b")))
        yield rig


@pytest.fixture
def open_page(browser: Browser, rig: Rig) -> Iterator[Open]:
    """Opens the dashboard; at the end nothing may have gone wrong on any page."""
    opened: list[tuple[Any, Watch]] = []

    def open_one(look: str = "light", url: str = "", **more: Any) -> Page:
        context = browser.new_context(**LOOKS[look], **more)
        page = context.new_page()
        page.set_default_timeout(60_000)
        opened.append((context, Watch(page, url or rig.url)))
        page.goto(url or rig.url)
        return page

    yield open_one
    faults = [fault for _, watch in opened for fault in watch.faults]
    for context, _ in opened:
        context.close()
    assert faults == []


def go(page: Page, view: str) -> None:
    page.get_by_role("link", name=view, exact=True).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(view)


def amounts(page: Page, selector: str) -> list[Decimal]:
    """Dollars, all digits."""
    return [Decimal(node.get_attribute("value") or "x") for node in page.locator(f"{selector} data.money").all()]


def dollars(pico: int) -> Decimal:
    return Decimal(pico) / 10**12


def violations(page: Page) -> list[str]:
    """What axe finds that is more than minor."""
    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html']}" for v in found if v["impact"] in ("serious", "critical", "moderate")]


def test_figures_are_those_of_the_ledger(open_page: Open, rig: Rig) -> None:
    page = open_page()
    ledger = summary(rig.data / "pennyweight.db", Query(by="model"))
    expect(page.locator("#calls")).to_have_text(f"{ledger.total.calls:,}")
    assert amounts(page, "#spent") == [dollars(ledger.total.cost)]
    assert amounts(page, "#saved") == [dollars(ledger.total.saved)]
    expect(page.locator("#saved")).to_contain_text(ledger.total.basis)
    for word in ("measured", "computed", "estimated"):
        assert amounts(page, f"#saved-{word}") == [dollars(getattr(ledger.total, f"saved_{word}"))]
    expect(page.get_by_role("main")).to_contain_text("1 calls have no known price")

    page.get_by_text("As a table").click()
    spent = page.locator("details tbody tr td:nth-child(3)")
    assert sum(amounts(page, "details tbody tr td:nth-child(3)")) == dollars(ledger.total.cost), spent.all_inner_texts()

    go(page, "Breakdown")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(len(ledger.lines) + 1)
    for at, line in enumerate(ledger.lines):
        expect(rows.nth(at).locator("th")).to_have_text(line.key)
        told = amounts(page, f"tbody tr:nth-child({at + 1}) td:nth-child(2)")
        assert told == ([dollars(line.cost)] if line.has_money else [])
    page.get_by_role("link", name="agent", exact=True).click()
    expect(page.get_by_role("columnheader", name="Agent")).to_be_visible()


def test_every_view_opens_by_click_and_says_what_is_there(open_page: Open, rig: Rig) -> None:
    page = open_page()
    expect(page.locator("#views a")).to_have_text(list(VIEWS))
    for view in VIEWS:
        go(page, view)
        expect(page.locator(f"#views a:text-is('{view}')")).to_have_attribute("aria-current", "page")
        expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("main")).to_contain_text("genai-prices")
    page.get_by_label("Search the price book").fill("haiku-4-5")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("rowheader", name="claude-haiku-4-5 anthropic")).to_be_visible()
    go(page, "Budgets")
    expect(page.get_by_role("row", name="ann")).to_contain_text("$5.00")
    go(page, "Optimizers")
    expect(page.get_by_role("row", name="exact_cache")).to_contain_text("on, 100.0%")
    go(page, "Sessions")
    page.get_by_role("link", name=NASTY).click()
    expect(page.get_by_role("main").locator("tbody tr")).to_have_count(1)


def test_names_from_callers_are_text(open_page: Open) -> None:
    page = open_page()
    for view in ("Overview", "Breakdown", "Sessions", "Live calls"):
        go(page, view)
        expect(page.get_by_text(NASTY).first).to_be_visible()
        expect(page.locator("main img")).to_have_count(0)


def test_a_call_comes_to_the_page_by_itself(open_page: Open, rig: Rig) -> None:
    page = open_page()
    go(page, "Live calls")
    before = page.locator("tbody tr").count()
    call_id = rig.play(1)
    expect(page.locator(f"[data-id='{call_id}']")).to_be_visible()
    assert page.locator("tbody tr").count() == before + 1

    go(page, "Overview")
    calls = int(page.locator("#calls").inner_text())
    rig.play(1)
    expect(page.locator("#calls")).to_have_text(str(calls + 1))


def test_a_trail_opens_and_closes_by_keyboard(open_page: Open, rig: Rig) -> None:
    page = open_page()
    go(page, "Live calls")
    link = page.locator("main tbody a").nth(2)
    link.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("row", name="exact_cache")).to_be_visible()
    rig.play(1)  # what happens behind it does not take the focus away
    page.wait_for_timeout(1_500)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator("main")).to_be_visible()
    assert page.evaluate("document.activeElement.dataset.action") == "call"


def test_new_figures_leave_what_is_open_and_focused(open_page: Open, rig: Rig) -> None:
    page = open_page()
    page.get_by_text("As a table").click()
    table = page.get_by_role("region", name="Spend and saving over time")
    table.focus()
    calls = int(page.locator("#calls").inner_text())
    rig.play(1)
    expect(page.locator("#calls")).to_have_text(str(calls + 1))
    expect(table).to_be_visible()
    expect(table).to_be_focused()


def test_a_step_of_the_chart_tells_its_figures(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("link", name="30 days").click()
    step = page.locator("figure .step").last
    step.hover()
    expect(page.locator(".tip")).to_contain_text("spent")
    page.mouse.move(5, 5)
    expect(page.locator(".tip")).to_be_hidden()


def test_an_optimizer_is_switched_and_the_reason_kept(open_page: Open, rig: Rig) -> None:
    page = open_page()
    go(page, "Optimizers")
    form = page.get_by_role("form", name="billing_header")
    form.get_by_label("Mode").select_option("shadow")
    form.get_by_label("Share of sessions").fill("25")
    form.get_by_label("Reason").fill("trying it")
    rig.play(1)  # figures that come meanwhile leave alone what is being filled in
    page.wait_for_timeout(1_500)
    expect(form.get_by_label("Reason")).to_have_value("trying it")
    form.get_by_role("button", name="Set").click()
    expect(page.locator("#said")).to_contain_text("billing_header: shadow, 25% of sessions.")
    now = rig.gateway.app.policy.in_force("billing_header")
    assert (now.mode, now.share, now.by, now.reason) == ("shadow", 0.25, "operator", "trying it")
    expect(form).to_contain_text("set by an operator: trying it")
    expect(page.get_by_role("row", name="billing_header")).to_contain_text("shadow, 25.0%")
    form.get_by_label("Share of sessions").fill("100")
    form.get_by_label("Mode").select_option("on")
    form.get_by_role("button", name="Set").click()
    expect(page.locator("#said")).to_contain_text("billing_header: on")


def test_caches_tell_how_right_they_are_and_are_purged_with_a_click(open_page: Open, rig: Rig) -> None:
    page = open_page()
    go(page, "Caches")
    row = page.get_by_role("region", name="What each cache did").get_by_role("row").filter(has_text="exact_cache")
    expect(row).to_contain_text("50.0%")
    expect(row).to_contain_text("not audited")
    saved = row.locator("data.money").get_attribute("value")  # of the only cache there is
    card = page.locator("[data-key='Saved by answers served again']")
    expect(card.locator("data.money")).to_have_attribute("value", saved or "")
    expect(page.get_by_role("region", name="Hits by store")).to_contain_text("memory")
    audit = page.get_by_role("article")
    expect(audit).to_have_count(1)
    expect(audit).to_contain_text("says something else")
    expect(audit.locator("pre").first).to_have_text(f"No picture. {NASTY}")
    expect(page.locator("body")).not_to_contain_text("Ann's own question")

    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
    form = page.get_by_role("form", name="Purge")
    form.get_by_label("Model").fill("no-such-model*")
    form.get_by_role("button").click()
    expect(page.locator(".said")).to_contain_text("0 answers dropped.")
    assert rig.kept() == 1
    form.get_by_role("button").click()
    expect(page.locator(".said")).to_contain_text("1 answers dropped.")
    assert asked == ["Drop the answers that fit?", "Drop every answer that is kept?"]
    assert rig.kept() == 0


def test_thumbs_are_kept_with_the_call(open_page: Open, rig: Rig) -> None:
    call_id = rig.play(1)
    page = open_page()
    go(page, "Live calls")
    page.locator(f"[data-id='{call_id}']").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="No").click()
    expect(dialog.get_by_role("button", name="No")).to_have_attribute("aria-pressed", "true")
    with closing(sqlite3.connect(rig.data / "pennyweight.db")) as ledger:
        found = ledger.execute(
            "SELECT kind, value FROM signals WHERE call_id = ? AND kind = 'feedback'", (call_id,)
        ).fetchall()
    assert found == [("feedback", -1.0)]


@pytest.mark.parametrize("look", LOOKS)
def test_no_view_has_a_serious_violation_or_scrolls_sideways(open_page: Open, rig: Rig, look: str) -> None:
    page = open_page(look)
    for view in VIEWS:
        go(page, view)
        if view == "Overview":
            page.get_by_text("As a table").click()
        assert violations(page) == [], view
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0, view
    go(page, "Live calls")
    page.locator("main tbody a").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []


def test_dark_is_dark(open_page: Open) -> None:
    def lightness(page: Page) -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return int(sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))))

    assert lightness(open_page("dark")) < 150 < 600 < lightness(open_page("light"))


def test_where_a_key_is_needed_it_is_asked_for_and_kept_for_the_tab(browser: Browser, tmp_path: Path) -> None:
    key = KeyStore(tmp_path / "data").add("ann")
    with Rig(tmp_path, config="[server]\nloopback_open = false\n") as rig:
        rig.write(
            sample_receipt("hers", at=time.time(), tenant="ann", model="hers"),
            sample_receipt("not-hers", at=time.time(), tenant="bob", model="not-hers"),
        )
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(rig.url)
        dialog = page.get_by_role("dialog", name="A key is needed")
        expect(dialog).to_be_visible()
        assert violations(page) == []
        page.get_by_label("Pennyweight key").fill("pw-wrong")
        page.get_by_role("button", name="Open").click()
        expect(dialog).to_contain_text("unknown, revoked or expired")
        page.get_by_label("Pennyweight key").fill(key)
        page.keyboard.press("Enter")
        expect(page.locator("#who")).to_have_text("ann")
        expect(page.locator("#calls")).to_have_text("1")
        expect(page.get_by_role("main")).not_to_contain_text("not-hers")
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        page.reload()
        expect(page.locator("#calls")).to_have_text("1")
        page.goto(f"{rig.url}/#/breakdown?by=tenant")
        expect(page.get_by_role("main")).not_to_contain_text("bob")
        context.close()


def test_a_finding_of_the_doctor_is_applied_with_a_click(browser: Browser, tmp_path: Path) -> None:
    with Rig(tmp_path, config="# mine\n") as rig:
        rig.play(6)
        rig.play(6, tools=list(reversed(rig.first["tools"])))
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{rig.url}/#/doctor")
        finding = page.locator("section", has_text="The same tools come in another order")
        expect(finding).to_contain_text("computed")
        assert violations(page) == []
        finding.get_by_role("button", name="The dearest call").click()
        expect(page.get_by_role("dialog")).to_contain_text("claude-sonnet")
        page.keyboard.press("Escape")
        finding.get_by_role("button", name="Apply the fix").click()
        expect(page.locator("#said")).to_contain_text("Applied: ")
        assert (tmp_path / "pennyweight.toml").read_text() != "# mine\n"
        context.close()


def test_a_gateway_that_is_gone_is_told(browser: Browser, tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        context = browser.new_context()
        page = context.new_page()
        page.goto(rig.url)
        expect(page.get_by_role("heading", name="No calls in this time")).to_be_visible()
        expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("#live")).to_have_text("not connected")
    context.close()


def test_tiers_tell_their_shares_and_how_targets_are(browser: Browser, tmp_path: Path) -> None:
    config = """
[[tiers]]
name = "cheap"
targets = ["openai/gpt-5-mini"]
share = 0.8
[[tiers]]
name = "frontier"
targets = ["anthropic/claude-opus-4-6"]
[[targets]]
target = "openai/gpt-5-mini"
per_day = 40
"""
    with Rig(tmp_path, config=config) as rig:
        same: dict[str, Any] = {
            "at": time.time(),
            "model": "auto",
            "provider": "openai",
            "replayed": False,
            "status": 200,
        }
        rig.write(*(sample_receipt(f"c{n}", target_model="gpt-5-mini", **same) for n in range(3)))
        rig.write(sample_receipt("d", target_model="claude-opus-4-6", **same | {"provider": "anthropic"}))
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{rig.url}/#/tiers")
        main = page.get_by_role("main")
        expect(main.locator("tr", has_text="openai/gpt-5-mini")).to_contain_text("75.0%80.0%40 requests left")
        expect(main.locator("tr", has_text="claude-opus-4-6")).to_contain_text("25.0%")
        assert violations(page) == []
        context.close()
