"""Bills cases whose cost was reckoned elsewhere: is every one right to the pico-dollar?

A case is `{id, wire, model, at, tier, prices, usage, cost_pico_usd}`, one JSON object a line, plain or gzip. `prices`
are periods in the shape of `pennyweight.prices.spec.PriceSpec`; `usage` is the provider's own block.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.money import PicoUSD, cost, in_force
from pennyweight.prices.spec import PriceSpec, compile_price, moment
from pennyweight.request import Wire
from pennyweight.wire import usage

from .result import progress, report

DATA = Path(__file__).resolve().parent.parent / "tests" / "data" / "billing_cases.jsonl.gz"
SHOWN = 20  # differences told on stderr


class Case(msgspec.Struct):
    id: int | str
    wire: str
    at: str
    prices: list[PriceSpec]
    usage: dict[str, Any]
    cost_pico_usd: PicoUSD
    tier: str | None = None
    model: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.billing", description=__doc__)
    parser.add_argument("--data", nargs="+", type=Path, default=[DATA], metavar="FILE")
    files: list[Path] = parser.parse_args().data
    cases = differences = 0
    for file in files:
        for number, line in enumerate(lines(file), start=1):
            cases += 1
            complaint = difference(line)
            if complaint is not None:
                differences += 1
                if differences <= SHOWN:
                    progress(f"{file}:{number}: {complaint}")
        progress(f"{file}: {cases} cases so far, {differences} differences")
    return report(
        "billing",
        data=[str(file) for file in files],
        figures={"cases": cases, "differences": differences},
        targets={"cases": ">= 1", "differences": "== 0"},
    )


def difference(line: bytes) -> str | None:
    """What is wrong with our bill of the case in `line`; None when it is exact."""
    try:
        case = msgspec.json.decode(line, type=Case)
        bill = billed(case)
    except ValueError as error:  # msgspec's errors are ValueErrors too
        return f"not billed: {error}"
    if bill != case.cost_pico_usd:
        return f"case {case.id} ({case.model}): billed {bill}, expected {case.cost_pico_usd}"
    return None


def billed(case: Case) -> PicoUSD:
    """Raises ValueError when no price is in force or the case is not readable."""
    at = moment(case.at)
    price = in_force([compile_price(spec) for spec in case.prices], at)
    if price is None:
        raise ValueError(f"case {case.id}: no price in force at {case.at}")
    wire = Wire.ANTHROPIC_MESSAGES if case.wire == "anthropic" else Wire(case.wire)
    return cost(usage.decode(wire, case.usage), price, at=at, tier=case.tier)


def lines(file: Path) -> Iterator[bytes]:
    """The lines of a plain or gzip file (told by its first bytes) that are not blank."""
    with file.open("rb") as plain:
        zipped = plain.read(2) == b"\x1f\x8b"
    with gzip.open(file) if zipped else file.open("rb") as opened:
        for line in opened:
            if line.strip():
                yield line


if __name__ == "__main__":
    sys.exit(main())
