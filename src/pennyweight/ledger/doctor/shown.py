"""Groups of findings as JSON, and as one page of HTML to send to somebody. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ...money import PicoUSD, format_usd
from .finding import Finding, Group

__all__ = ["as_object", "page", "summed"]

MOST_SESSIONS = 20


def as_object(group: Group, *, text: bool = False) -> dict[str, Any]:
    """One group as plain values. text: with what changed, quoted from the prompts."""
    worst = group.worst
    made: dict[str, Any] = {
        "id": group.id,
        "code": group.code,
        "severity": group.severity,
        "title": group.title,
        "detail": group.detail,
        "where": group.where,
        "calls": group.calls,
        "tokens": group.tokens,
        "cost_pico": group.cost,
        "fix": group.fix,
        "setting": group.setting,
        "applicable": group.applicable,
        "provider": group.provider,
        "model": group.model,
        "client": group.client,
        "conversations": len(group.sessions),
        "sessions": list(group.sessions[:MOST_SESSIONS]),
        "first_at": group.first_at,
        "last_at": group.last_at,
        "worst": {
            "call_id": worst.call_id,
            "session": worst.session,
            "place": worst.place,
            "at_byte": worst.at_byte,
            "at_token": worst.at_token,
            "tokens": worst.dearest,
            "what": worst.what,
            "names": list(worst.names),
            "gap_s": worst.gap_s,
        },
    }
    if text:
        made["before"], made["after"] = worst.before, worst.after
    return made


def summed(groups: Sequence[Group]) -> tuple[PicoUSD, int]:
    """What all of them cost, as far as prices are known, and how many tokens were missed."""
    return sum(group.cost or 0 for group in groups), sum(group.tokens for group in groups)


def page(groups: Sequence[Group], *, about: str, text: bool = False, now: float | None = None) -> str:
    """One self-contained HTML page: no script, no font, nothing from elsewhere, and no prompt text unless asked for.

    about: what was looked at, in a sentence.
    """
    cost, tokens = summed(groups)
    made = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC") if now is not None else ""
    body = "".join(_section(number, group, cost, text=text) for number, group in enumerate(groups, 1))
    if not groups:
        body = "<p class=fine>Nothing was missed that is worth a change.</p>"
    priced = f"<b>{format_usd(cost)}</b> missed" if cost else f"<b>{tokens:,}</b> tokens missed"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Cache doctor</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">
<style>{_STYLE}</style></head><body>
<header><h1>Cache doctor</h1><p>{html.escape(about)}</p>
<p class="sum">{priced} in {len(groups)} {"finding" if len(groups) == 1 else "findings"}
<small>{tokens:,} prompt tokens that a provider's cache could have served</small></p></header>
<main>{body}</main>
<footer>Made by Pennyweight{" on " + made if made else ""}. Costs are what the missed tokens were billed above the
price of reading them from the cache. {"Quotes are from prompts." if text else "No prompt text is on this page."}
</footer></body></html>
"""


def _section(number: int, group: Group, total: PicoUSD, *, text: bool) -> str:
    share = f"{group.cost / total:.0%}" if group.cost and total else ""
    price = format_usd(group.cost) if group.cost is not None else f"{group.tokens:,} tokens"
    who = f"{group.model} at {group.provider}" + (f", asked by {group.client}" if group.client else "")
    conversations = f"{len(group.sessions)} conversation{'s' if len(group.sessions) != 1 else ''}"
    width = 100 * (group.cost or 0) / total if total else 0.0
    bar = f'<div class="bar" aria-hidden="true"><i style="width:{width:.1f}%"></i></div>' if group.cost else ""
    setting = f"<pre>{html.escape(group.setting)}</pre>" if group.setting else ""
    own = "<p class=own>The gateway can do this itself: <code>pennyweight doctor --apply</code></p>"
    return f"""<section class="{group.severity}"><h2><span class="no">{number}</span> {html.escape(group.title)}</h2>
<p class="price"><b>{price}</b> {share} <span class="tag">{group.severity}</span></p>
{bar}<p>{html.escape(group.detail)}</p>
<dl><dt>Where</dt><dd>{html.escape(who)}; {group.calls:,} call{"s" if group.calls != 1 else ""} in {conversations}</dd>
<dt>Missed</dt><dd>{group.tokens:,} tokens</dd></dl>
{_quote(group.worst) if text else ""}
<h3>Remedy</h3><p>{html.escape(group.fix)}</p>{setting}{own if group.applicable else ""}</section>
"""


def _quote(worst: Finding) -> str:
    if not worst.before and not worst.after:
        return ""
    return (
        f"<div class=quote><p><span>before</span><q>{html.escape(worst.before)}</q></p>"
        f"<p><span>after</span><q>{html.escape(worst.after)}</q></p></div>"
    )


_STYLE = """
:root{--ink:#1c2126;--quiet:#5b6570;--line:#dde1e6;--page:#fff;--card:#f7f8fa;--high:#a8200d;--medium:#8a5a00;--low:#2f6690}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--quiet:#9ba6b2;--line:#333b44;--page:#14171a;--card:#1c2126;
--high:#ff8a75;--medium:#f0c26a;--low:#8cc0ea}}
*{box-sizing:border-box}
body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:50rem;margin:0 auto;
padding:2.5rem 1.25rem}
h1{font-size:1.7rem;margin:0} header p{margin:.35rem 0;color:var(--quiet)}
.sum{font-size:1.15rem;color:var(--ink)!important} .sum small{display:block;font-size:.9rem;color:var(--quiet)}
section{background:var(--card);border:1px solid var(--line);border-left:4px solid var(--tone);border-radius:8px;
padding:1.1rem 1.3rem;margin:1.4rem 0;--tone:var(--low);break-inside:avoid}
section.high{--tone:var(--high)} section.medium{--tone:var(--medium)}
h2{font-size:1.1rem;margin:0} .no{color:var(--quiet);font-weight:400;margin-right:.25rem}
h3{font-size:.95rem;margin:1rem 0 .2rem} section p{margin:.4rem 0}
.price{font-variant-numeric:tabular-nums} .price b{font-size:1.25rem} .tag{color:var(--tone);font-size:.85rem;
font-weight:600;margin-left:.5rem}
.bar{height:4px;background:var(--line);border-radius:2px;overflow:hidden} .bar i{display:block;height:100%;
background:var(--tone)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:.6rem 0;font-size:.92rem}
dt{color:var(--quiet)} dd{margin:0;overflow-wrap:anywhere}
pre,code{font:.88rem/1.5 ui-monospace,monospace} pre{margin:.5rem 0;padding:.6rem .8rem;border:1px solid var(--line);
border-radius:6px;background:var(--page);white-space:pre-wrap;overflow-wrap:anywhere}
.quote{font-size:.88rem;border-left:2px solid var(--line);padding-left:.9rem;margin:.6rem 0}
.quote span{display:inline-block;width:4rem;color:var(--quiet)} .quote q{quotes:none;white-space:pre-wrap;
font-family:ui-monospace,monospace;overflow-wrap:anywhere}
.own{color:var(--quiet);font-size:.92rem} footer{color:var(--quiet);font-size:.85rem;border-top:1px solid var(--line);
padding-top:1rem;margin-top:2rem}
@media print{body{padding:0;max-width:none;font-size:11pt} section{background:none}}
"""
