"""Which address of the dashboard gives what, and to whom: an operator sees all, the holder of a key its own calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar, cast, get_args
from urllib.parse import parse_qsl

import msgspec

from ... import __version__
from ...app import App
from ...backends.budget.limits import DAILY
from ...errors import BadRequest, StoreError
from ...front.auth import Gate
from ...front.http import HttpRequest, HttpResponse
from ...ledger.functions import function_lines
from ...ledger.hits import hit_lines
from ...ledger.rolled import DAY_S, Figures, Rolled, Span, rolled
from ...stores.damage import notice
from ...stores.sqlite import FILE
from . import answers, assets, figures, prices
from .figures import RANGES, Asked, By

__all__ = ["Dashboard"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]
Fields = Mapping[str, str]
T = TypeVar("T")
Name = TypeVar("Name", bound=str)

_PREFIX = "/pennyweight/dashboard/"
_VIEWS = ("doctor", "advice", "experiments", "caches", "tiers")
_ORDERS = ("recent", "cost")
_FULLEST, _NEWEST = 100, 20
_RECENT = 5_000  # calls by which the models in use are known


class Dashboard:
    """`find` gives the page for a GET request, None for what is not the dashboard's.

    offers(path): whether this gateway has a page there; the views that need one are shown only then.
    """

    def __init__(self, app: App, gate: Gate, offers: Callable[[str], bool]) -> None:
        self._app = app
        self._gate = gate
        self._offers = offers
        self._pages: Mapping[str, Callable[[Asked, Fields], Awaitable[Any]]] = {
            "about": self._about,
            "pulse": self._pulse,
            "overview": self._overview,
            "breakdown": self._breakdown,
            "sessions": self._sessions,
            "calls": self._calls,
            "caches": self._caches,
            "optimizers": self._optimizers,
            "budgets": self._budgets,
            "prices": self._prices,
        }

    def find(self, request: HttpRequest) -> Page | None:
        path = request.path
        if path == "/":
            return _page
        if path.startswith(assets.PREFIX):
            return _asset
        if path.startswith(_PREFIX) and path.removeprefix(_PREFIX) in self._pages:
            return self._json
        return None

    async def _json(self, request: HttpRequest) -> HttpResponse:
        tenant = self._gate.viewer(request)
        fields = dict(parse_qsl(request.query))
        span = _one_of(RANGES, "range", fields.get("range", "7d"))
        width = int(_number("width", fields.get("width", "720"), 240, 2_000))
        asked = Asked(self._app.clock.now(), tenant, span, width)
        body = await self._pages[request.path.removeprefix(_PREFIX)](asked, fields)
        headers = (
            ("content-type", "application/json"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
        )
        return HttpResponse(200, headers, msgspec.json.encode(body))

    # --- of the ledger ----------------------------------------------------------------------------------------

    async def _pulse(self, asked: Asked, fields: Fields) -> Any:
        """Changes whenever there is a new receipt to see. Asked for every second, so it touches one row."""

        def last(ledger: Rolled) -> Any:
            if asked.tenant is None:
                return ledger.select("SELECT max(rowid) FROM receipts")[0][0]
            return ledger.select("SELECT max(at) FROM receipts WHERE tenant = ?", (asked.tenant,))[0][0]

        counters = self._app.clerk.counters
        told = {"state": str(await self._look(last, None)), "now": asked.now}
        if asked.tenant is None:
            told |= {"trouble": counters.last_error, "waiting": counters.queued, "lost": counters.lost}
        return told

    async def _overview(self, asked: Asked, fields: Fields) -> Any:
        told: dict[str, Any] = await self._look(lambda ledger: figures.overview(ledger, asked), {"total": None})
        if asked.tenant is None:
            damages = await asyncio.to_thread(self._app.database.damages)
            told["damaged"] = [notice(damage, self._app.config.data_dir) for damage in damages]
        return told

    async def _breakdown(self, asked: Asked, fields: Fields) -> Any:
        by = cast(By, _one_of(get_args(By), "by", fields.get("by", "model")))
        return await self._look(lambda ledger: figures.breakdown(ledger, asked, by), {"by": by, "groups": []})

    async def _sessions(self, asked: Asked, fields: Fields) -> Any:
        order = cast(Literal["recent", "cost"], _one_of(_ORDERS, "order", fields.get("order", "recent")))
        return await self._look(lambda ledger: figures.sessions(ledger, asked, order), {"sessions": []})

    async def _calls(self, asked: Asked, fields: Fields) -> Any:
        """`session` with the `tenant` that it is of; `before` and `before_id`: the last call of the page before."""
        session = before = None
        if "session" in fields:
            session = (asked.tenant or fields.get("tenant", "local"), fields["session"])
        if "before" in fields:
            before = (_number("before", fields["before"], 0, 1e12), fields.get("before_id", ""))
        return await self._look(
            lambda ledger: figures.calls(ledger, asked, session=session, before=before), {"calls": [], "more": False}
        )

    async def _caches(self, asked: Asked, fields: Fields) -> Any:
        """Hit rates of the provider's cache and of ours; what each of ours did; and the last audited pairs, which hold
        texts: the asker sees only those of its own calls, and the operator those that came without a key."""
        told = await self._look(lambda ledger: figures.caches(ledger, asked), {"total": None})
        with contextlib.suppress(StoreError):  # then the figures are a few seconds old
            await self._app.hits.flush()
        path, own = self._app.config.data_dir / FILE, asked.tenant or "local"
        lines = await asyncio.to_thread(hit_lines, path, since=asked.span.since, tenant=asked.tenant)
        kept = await asyncio.to_thread(answers.kept_pairs, path, own)
        functions = await asyncio.to_thread(
            function_lines, path, since=float(asked.span.since or 0), tenant=asked.tenant
        )
        return {
            **told,
            "functions": answers.functions(functions),
            "answers": answers.answers(lines),
            "pairs": answers.pairs(self._app.hits.pairs(own), kept),
            "pairs_of": own,
        }

    async def _optimizers(self, asked: Asked, fields: Fields) -> Any:
        """What is configured, in the order of asking, and what each said."""
        said: dict[str, dict[str, Any]] = await self._look(lambda ledger: figures.optimizers(ledger, asked), {})
        rules = self._app.config.optimizers
        lines = [
            {"name": rule.use, "mode": rule.mode, "share": rule.share, "level": rule.level, **said.get(rule.use, {})}
            for rule in rules
        ]
        others = sorted(set(said) - {rule.use for rule in rules})
        lines += [{"name": name, "mode": None, "share": None, "level": None, **said[name]} for name in others]
        return {"optimize": self._app.config.optimize, "optimizers": lines}

    async def _budgets(self, asked: Asked, fields: Fields) -> Any:
        """The virtual keys that the asker may see: limits, and what was spent since midnight UTC."""
        keys = [key for key in self._app.keys.list() if asked.tenant in (None, key.name)]
        today = Span(asked.today, asked.tenant)
        spent: dict[str, Figures] = await self._look(lambda ledger: dict(ledger.groups(today, "tenant")), {})
        lines = []
        for key in keys:
            limited = key.daily_limit is not None
            counted = await self._app.budgets.spent(key.name) if limited else None
            cost = spent[key.name].cost if key.name in spent else 0
            lines.append(
                {
                    "name": key.name,
                    "limit": None if key.daily_limit is None else str(key.daily_limit),
                    "spent": str(cost if counted is None else counted),
                    "calls": spent[key.name].calls if key.name in spent else 0,
                    "created_at": key.created_at,
                    "expires_at": key.expires_at,
                }
            )
        local = spent.get("local")
        of_local = None if local is None or asked.tenant is not None else figures.figures(local)
        return {
            "keys": lines,
            "local": of_local,
            "resets_at": asked.today + DAY_S,
            "budgets": await self._limits(asked),
            "events": [
                {"at": event.at, "level": event.level, "text": event.text}
                for event in reversed(self._app.alerts.events)
                if asked.tenant in (None, event.tenant)
            ][:_NEWEST],
        }

    async def _limits(self, asked: Asked) -> list[dict[str, Any]]:
        """The budgets of the file and of agents, the fullest first; those of keys have a table of their own."""
        states = await self._app.budgets.states(tenant=asked.tenant)
        return [
            {
                "name": state.budget,
                "whose": "" if state.subject == state.tenant else state.subject,
                "tenant": state.tenant,
                "unit": state.unit,
                "spent": str(state.spent),
                "held": str(state.held),
                "amount": str(state.amount),
                "share": state.share,
                "level": state.level,
                "ends": state.ends,
            }
            for state in states
            if state.budget != DAILY
        ][:_FULLEST]

    async def _prices(self, asked: Asked, fields: Fields) -> Any:
        """The prices of the models in use; with `search`, those whose names have it in them."""
        book, text = self._app.prices, fields.get("search", "").strip()
        made = {"source": book.catalogue.source, "made": book.catalogue.made, "own": len(book.overrides)}
        if text:
            return {**made, "search": text, **await asyncio.to_thread(prices.found, book, text, asked.now)}
        where, values = ("tenant = ?", [asked.tenant]) if asked.tenant is not None else ("true", [])

        def models(ledger: Rolled) -> list[tuple[str, str, int]]:
            sql = f"""SELECT provider, target_model, count(*) FROM
              (SELECT provider, target_model FROM receipts WHERE {where} ORDER BY at DESC LIMIT {_RECENT})
              WHERE target_model <> '' GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"""
            return [(row[0], row[1], row[2]) for row in ledger.select(sql, values)]

        lines = prices.used(book, await self._look(models, []), asked.now)
        return {**made, "search": "", "count": len(lines), "lines": lines}

    async def _look(self, read: Callable[[Rolled], T], empty: T) -> T:
        """What `read` finds in the ledger, in a thread; `empty` where there is no ledger yet. Raises StoreError."""
        path = self._app.config.data_dir / FILE
        self._app.rollups.look()

        def work() -> T:
            with rolled(path) as ledger:
                return empty if ledger is None else read(ledger)

        return await asyncio.to_thread(work)

    # --- of the gateway ---------------------------------------------------------------------------------------

    def _offered(self, operator: bool) -> list[str]:
        """What the page may show beside its own views, by whether this gateway has it and the asker may use it."""
        pages = {name: f"/pennyweight/{name}" for name in _VIEWS} if operator else {}
        return [name for name, path in ({"feedback": "/v1/feedback"} | pages).items() if self._offers(path)]

    async def _about(self, asked: Asked, fields: Fields) -> Any:
        """Whose view this is, and what runs here. Where the data is, is the operator's business."""
        config = self._app.config
        operator = asked.tenant is None
        providers = [
            {"name": name, "key": p.configured or p.auth == "none"} for name, p in config.providers.items() if operator
        ]
        return {
            "version": __version__,
            "operator": operator,
            "tenant": asked.tenant,
            "offers": self._offered(operator),
            "optimize": config.optimize,
            "providers": providers,
            "ledger": str(config.data_dir / FILE) if operator else None,
        }


async def _page(request: HttpRequest) -> HttpResponse:
    return assets.page()


async def _asset(request: HttpRequest) -> HttpResponse:
    return assets.asset(request.path)


def _one_of(known: tuple[Name, ...], name: str, value: str) -> Name:
    for one in known:
        if one == value:
            return one
    raise BadRequest(f"{name} {value[:40]!r} is not known. Use one of: {', '.join(known)}.")


def _number(name: str, value: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise BadRequest(f"{name} {value[:40]!r} is no number from {low:g} to {high:g}.")
    return number
