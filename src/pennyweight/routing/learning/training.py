"""Outcome data from files: what formats are read, what is wrong with them, and how well what was learnt of them holds.

Three formats, a JSON object a line, also gzipped: `{prompt, model, success}` (one outcome a line; `task`, `agent`, `at`
and `id` where known, and `declared` or `category`: the task in the caller's own word); `{id, prompt, weak, strong}`
(RouteLLM: 1 where that model was right); and a first line `{meta, models: [...]}` followed by `{id, prompt, correct:
"0110…"}` (ZeroEval: a digit for each model).
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from xxhash import xxh3_128_hexdigest

from ...errors import ConfigError
from ..reading import TYPES, TaskType
from ..tasks import of_text
from .features import features
from .outcomes import Told, task_type
from .priors import difficulty
from .state import State

__all__ = ["WEAK_STRONG", "Held", "Row", "advice", "as_told", "brier", "digest", "read_rows", "split_off"]

WEAK_STRONG = ("mixtral-8x7b", "gpt-4")
"""The two models of RouteLLM's files, which do not name them."""

_MOST_CHARS = 200_000  # of a prompt


class Row(msgspec.Struct, frozen=True):
    """One text and which models got it right. `task` None: told from the text. `declared`: as its caller named it."""

    id: str
    prompt: str
    success: dict[str, float]
    task: TaskType | None = None
    agent: str = ""
    at: float = 0.0
    declared: str = ""


class Held(msgspec.Struct, frozen=True):
    """Mean squared error of chances (0 is perfect, 0.25 is a coin), on outcomes that were not learnt from."""

    outcomes: int
    prior: float
    table: float
    similar: float | None  # the table and similar texts; None: there is no kernel


def read_rows(path: Path, *, weak: str = WEAK_STRONG[0], strong: str = WEAK_STRONG[1]) -> list[Row]:
    """The rows of a file; outcomes of one text are put together. weak, strong: what RouteLLM's two models are called.

    Raises ConfigError that quotes the line for a file that cannot be read.
    """
    models: list[str] = []
    rows: dict[str, Row] = {}
    tallies: dict[tuple[str, str], list[float]] = {}
    for number, value in _objects(path):
        where = f"{path}, line {number}"
        if isinstance(value.get("models"), list) and "prompt" not in value:
            models = [str(name) for name in value["models"]]
            continue
        prompt = value.get("prompt", value.get("text"))
        if not isinstance(prompt, str) or not prompt:
            raise ConfigError(f'{where} has no text under "prompt". See docs/learned-router.md for the formats.')
        prompt = prompt[:_MOST_CHARS]
        key = str(value.get("id", "")) or digest(prompt)
        if key in rows and rows[key].prompt != prompt:
            key = f"{key} {digest(prompt)}"
        if key not in rows:
            at = value.get("at")
            rows[key] = Row(
                key,
                prompt,
                {},
                _task(value, where),
                str(value.get("agent", "")),
                float(at) if isinstance(at, int | float) else 0.0,
                str(value.get("declared", value.get("category", ""))),
            )
        for model, success in _outcomes(value, models, weak, strong, where):
            tallies.setdefault((key, model), []).append(success)
    for (key, model), told in tallies.items():
        rows[key].success[model] = sum(told) / len(told)  # told both ways: what it comes to
    if not rows:
        raise ConfigError(f"{path} holds no outcomes: it has no line with a prompt.")
    return list(rows.values())


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    value = msgspec.json.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise ConfigError(f"{path}, line {number} is no JSON: {error}.") from None
                except RecursionError:
                    raise ConfigError(f"{path}, line {number} is nested too deeply. Flatten it.") from None
                if not isinstance(value, dict):
                    raise ConfigError(f"{path}, line {number} is no JSON object.")
                yield number, value
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from None


def _outcomes(
    value: Mapping[str, Any], models: Sequence[str], weak: str, strong: str, where: str
) -> Iterator[tuple[str, float]]:
    if "weak" in value and "strong" in value:
        yield weak, _success(value["weak"], where)
        yield strong, _success(value["strong"], where)
    elif isinstance(correct := value.get("correct"), str) and models:
        if len(correct) != len(models):
            raise ConfigError(f'{where}: "correct" has {len(correct)} digits for {len(models)} models.')
        for model, digit in zip(models, correct, strict=True):
            if digit in "01":
                yield model, float(digit)
    elif isinstance(name := value.get("model"), str) and name:
        told = value.get("success", value.get("correct"))
        if told is not None:  # unknown is no success and no failure
            yield name, _success(told, where)
    else:
        raise ConfigError(
            f'{where} names no outcome. A line has "model" and "success", or "weak" and "strong", or "correct" after a '
            'first line with "models". See docs/learned-router.md.'
        )


def _success(value: Any, where: str) -> float:
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    raise ConfigError(f"{where}: {value!r} is no outcome. Use 1 or true, 0 or false, or a share between.")


def _task(value: Mapping[str, Any], where: str) -> TaskType | None:
    told = value.get("task")
    if told is not None:
        if told not in TYPES:
            raise ConfigError(f"{where}: {told!r} is no task type. Known: {', '.join(TYPES)}.")
        return task_type(told)
    return "tools" if value.get("functions") or value.get("tools") else None


def digest(text: str) -> str:
    return xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))


def as_told(rows: Iterable[Row], vectors: Mapping[str, bytes], *, tenant: str = "local", at: float) -> list[Told]:
    """The rows' outcomes. vectors: embeddings (float16, little-endian) by row id, where there are any. at: seconds."""
    told = []
    for row in rows:
        task = row.task or of_text(row.prompt).type
        hard, counted, text = difficulty(task, row.prompt), features(row.prompt), digest(row.prompt)
        for model, success in row.success.items():
            told.append(
                Told(
                    row.at or at,
                    tenant,
                    task,
                    model,
                    success,
                    agent=row.agent,
                    text=text,
                    hard=hard,
                    features=counted,
                    vector=vectors.get(row.id, b""),
                    declared=row.declared,
                )
            )
    return told


def advice(told: Sequence[Told]) -> list[str]:
    """What is wrong with outcomes, in sentences; [] where nothing is."""
    found = []
    mean = sum(one.success for one in told) / max(len(told), 1)
    if told and mean in (0.0, 1.0):
        word = "successes" if mean else "failures"
        found.append(
            f"All {len(told)} outcomes are {word}: they raise or lower every chance, and tell no texts apart. "
            "Add outcomes of the other kind."
        )
    models = {one.model for one in told}
    if len(models) == 1:
        found.append(f"All outcomes are of {next(iter(models))}: its chances are learnt, and no other's.")
    texts = {one.text for one in told if one.text}
    if 0 < len(texts) < 40:
        found.append(
            f"{len(texts)} texts are too few to learn from similar ones (40 are needed): the table alone learns."
        )
    mixed = sum(0.0 < one.success < 1.0 for one in told)
    if mixed:
        found.append(
            f"{mixed} outcomes are between 0 and 1, or the same text and model was told both ways: their mean counts."
        )
    return found


def split_off(rows: Sequence[Row], share: float, *, seed: int) -> tuple[list[Row], list[Row]]:
    """The rows without, and with, a share that is drawn by seed."""
    order = list(rows)
    random.Random(seed).shuffle(order)
    cut = int(len(order) * (1.0 - share))
    return order[:cut], order[cut:]


def brier(state: State, held: Sequence[Told]) -> Held:
    """How far chances were from outcomes that the state has not seen."""
    empty = State()
    prior = table = similar = 0.0
    said_of: dict[str, Any] = {}
    for one in held:
        prior += (empty.estimate(one.task, one.model, hard=one.hard).mean - one.success) ** 2
        table += (state.estimate(one.task, one.model, hard=one.hard).mean - one.success) ** 2
        if one.text not in said_of:
            said_of[one.text] = state.ask(one.vector, one.features, one.declared)
        said = said_of[one.text]
        similar += (state.estimate(one.task, one.model, hard=one.hard, said=said).mean - one.success) ** 2
    count = max(len(held), 1)
    return Held(len(held), prior / count, table / count, similar / count if state.kernel is not None else None)
