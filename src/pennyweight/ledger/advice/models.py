"""Advice about models: slow ones, dearer ones than needed, answers that are cut, and those without a price."""

from __future__ import annotations

from collections.abc import Iterator

from ...money import PicoUSD, format_usd
from ...request import Usage
from .case import Case, agent_name, route
from .settings import Finding
from .window import Sums, grouped, total

__all__ = ["cut_answers", "dear_models", "slow_models", "unpriced"]


def slow_models(case: Case) -> Iterator[Finding]:
    for (provider, model), cells in grouped(case.window.cells, lambda c: (c.provider, c.model)).items():
        s = total(cells)
        if s.answered < case.settings.min_calls or s.latency_ms <= case.settings.slow_s * 1000 * s.answered:
            continue
        mean_s = s.latency_ms / 1000 / s.answered
        first_s = s.ttft_ms / 1000 / s.ttft_calls if s.ttft_calls else None
        output = s.output_tokens / s.answered
        writing_s = mean_s - first_s if first_s is not None else mean_s
        speed = output / writing_s if writing_s > 0 else 0.0
        remedy, setting = _faster(provider, model, mean_s=mean_s, first_s=first_s, sums=s)
        told = f"{mean_s:.1f} s for the mean answer of {output:,.0f} tokens"
        told += f", {first_s:.1f} s to its first byte" if first_s is not None else ""
        yield Finding(
            id=f"slow_model:{provider}/{model}",
            code="slow_model",
            severity="warning",
            title=f"{provider}/{model} is slow: {mean_s:.1f} s on average",
            detail=f"{told}; {s.slow:,} of {s.answered:,} answers took over {case.settings.slow_s:g} s. Of it our own "
            f"part was {s.added_us / 1000 / s.answered:.1f} ms.",
            evidence={
                "calls": s.answered,
                "mean_s": round(mean_s, 3),
                **({"mean_ttft_s": round(first_s, 3)} if first_s is not None else {}),
                "over_bound": s.slow,
                "mean_output_tokens": round(output, 1),
                "output_tokens_per_s": round(speed, 1),
                "mean_added_ms": round(s.added_us / 1000 / s.answered, 3),
            },
            cost=None,
            basis="",
            remedy=remedy,
            setting=setting,
        )


def _faster(provider: str, model: str, *, mean_s: float, first_s: float | None, sums: Sums) -> tuple[str, str]:
    """The remedy and the setting, by where the time goes."""
    if sums.added_us > 200 * sums.latency_ms:  # a fifth of it is ours
        return (
            "A good part of the time passes in this gateway: look at what its optimizers take.",
            "pipeline.propose_s in pennyweight.toml",
        )
    if first_s is not None and first_s > mean_s / 2:
        return (
            "Most of the time passes before the first byte, while the model reads and thinks: ask for less reasoning, "
            "and let the prompt be read from the provider's cache.",
            "reasoning_effort (OpenAI), output_config.effort or thinking (Anthropic), in the client",
        )
    return (
        "Most of the time is writing: shorter answers, or a faster model for the work that can do with one.",
        route(model, provider, "a-faster-model"),
    )


def dear_models(case: Case) -> Iterator[Finding]:
    """Short answers without tools, nearly all well ended, where the operator also uses a model of half the price."""
    settings = case.settings
    own = {key: total(cells) for key, cells in grouped(case.window.cells, lambda c: (c.provider, c.model)).items()}
    jobs = grouped(
        (c for c in case.window.cells if c.housekeeping in ("", "title", "commit_message")),
        lambda c: (c.agent, c.housekeeping, c.provider, c.model),
    )
    for (agent, chore, provider, model), cells in jobs.items():
        s = total(cells)
        if s.answered < max(settings.min_calls, 50) or not s.cost:
            continue
        if s.tools or s.output_tokens > settings.short_tokens * s.answered or s.plain < 0.98 * s.answered:
            continue
        usage, calls = s.mean_usage(), s.calls - s.replayed
        now = case.price(provider, model, usage)
        other = _cheaper(case, own, provider, model, usage, now)
        if now is None or other is None:
            continue
        (cheap_provider, cheap_model), price = other
        per_day = case.window.per_day((now - price) * calls)
        if not case.worth_reading(per_day):
            continue
        what = f"{agent_name(agent)}{f' ({chore})' if chore else ''}"
        unnamed = " These calls name no agent, so they may be several jobs." if not agent else ""
        yield Finding(
            id=f"dear_model:{agent}/{chore}/{provider}/{model}",
            code="dear_model",
            severity="info",
            title=f"{what} may not need {model}: try {cheap_model}",
            detail=f"{s.answered:,} answers of {s.output_tokens / s.answered:,.0f} tokens on average, none with a tool "
            f"call, {s.plain / s.answered:.1%} ended properly. The same tokens at {cheap_provider}/{cheap_model}, "
            f"which you use already, cost {format_usd(price)} a call instead of {format_usd(now)}. Not known: whether "
            f"its answers are as good, whether they are as long, and whether it would cache as well.{unnamed}",
            evidence={
                "calls": s.answered,
                "mean_output_tokens": round(s.output_tokens / s.answered, 1),
                "plain_share": round(s.plain / s.answered, 4),
                "cost_per_call_pico": now,
                "other_cost_per_call_pico": price,
                "other": f"{cheap_provider}/{cheap_model}",
            },
            cost=per_day,
            basis="estimated",
            remedy="Try it as an experiment: send a small share of this agent's sessions there, compare the outcomes, "
            "and only then all of them.",
            setting=f"the model of {agent_name(agent, small=True)} in its client; or, for all that ask for it:\n"
            + route(model, cheap_provider, cheap_model),
        )


def _cheaper(
    case: Case, own: dict[tuple[str, str], Sums], provider: str, model: str, usage: Usage, now: PicoUSD | None
) -> tuple[tuple[str, str], PicoUSD] | None:
    """The dearest of the operator's models that costs at most half: the smallest step down that is worth a trial."""
    if now is None:
        return None
    found = []
    for key, sums in own.items():
        if (
            key == (provider, model)
            or sums.answered < case.settings.min_calls
            or sums.plain + sums.tools < 0.95 * sums.answered
        ):
            continue
        price = case.price(*key, usage)
        if price and price * 2 <= now:
            found.append((price, key))
    if not found:
        return None
    price, key = max(found)
    return key, price


def cut_answers(case: Case) -> Iterator[Finding]:
    for (agent, provider, model), cells in grouped(case.window.cells, lambda c: (c.agent, c.provider, c.model)).items():
        s = total(cells)
        ended = s.plain + s.tools
        if s.answered < case.settings.min_calls or s.cut < 5 or s.cut < 0.02 * s.answered:
            continue
        cost = case.price(provider, model, Usage(output_tokens=s.cut_tokens // s.cut))
        per_day = None if cost is None else case.window.per_day(cost * s.cut)
        if not case.worth_reading(per_day):
            continue
        mean, proper = s.cut_tokens // s.cut, (s.output_tokens - s.cut_tokens) // max(ended, 1)
        runaway = mean > 4 * max(proper, 1)
        yield Finding(
            id=f"cut_answers:{agent}/{provider}/{model}",
            code="cut_answers",
            severity="warning",
            title=f"{agent_name(agent)}: {s.cut / s.answered:.0%} of {model}'s answers are cut at their length limit",
            detail=f"{s.cut:,} of {s.answered:,} answers, {mean:,} tokens each; the others have {proper:,}. What was "
            "written is paid for, and mostly asked for again.",
            evidence={"calls": s.answered, "cut": s.cut, "mean_cut_tokens": mean, "mean_other_tokens": proper},
            cost=per_day,
            basis=case.basis if per_day is not None else "",
            remedy="These run on far longer than the proper answers: bound them well above the longest proper one."
            if runaway
            else "The limit is too low for the work: raise it, or ask for shorter answers.",
            setting='[[optimizers]]\nuse = "output_limit"\n\n[adaptive]\nenabled = true'
            if runaway
            else "max_tokens (or its like) in the client",
        )


def unpriced(case: Case) -> Iterator[Finding]:
    for (provider, model), cells in grouped(case.window.cells, lambda c: (c.provider, c.model)).items():
        s = total(cells)
        if not s.unpriced:
            continue
        yield Finding(
            id=f"unpriced:{provider}/{model}",
            code="unpriced",
            severity="warning",
            title=f"No price is known for {provider}/{model}",
            detail=f"{s.unpriced:,} of its calls are in no sum of money, in no budget and in no finding here.",
            evidence={"calls": s.unpriced, "input_tokens": s.input_tokens, "output_tokens": s.output_tokens},
            cost=None,
            basis="",
            remedy="Fetch a newer price list with `pennyweight prices update`, or write the price down.",
            setting=f'[[prices]]\nprovider = "{provider}"\nmodel = "{model}"\n'
            "input = 0.0  # US dollars per million tokens\noutput = 0.0",
        )
