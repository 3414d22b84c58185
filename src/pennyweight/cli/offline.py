"""An App that asks nobody: for `replay` and `explain`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from ..adaptive import Settings as AdaptiveSettings
from ..app import App, build
from ..capture.format import Recorded
from ..config import Config, find, load
from ..ledger.doctor import pricing
from ..prices.caching import CacheBook
from ..prices.catalogue import FILE_NAME
from ..replay.doctor import Diagnosis, diagnose
from ..replay.offline import Engine, TapeClock
from ..routing.background import LaneSettings
from ..text.embedders import folder_of
from ..text.tokenizers import BpeTokenizer

__all__ = ["engine", "examined", "loaded", "opened"]

_PATIENCE_S = 5.0  # for all optimizers of a call: what they would do must not depend on how busy this machine is now


def loaded(config_path: Path | None, data: Path | None, optimize: str | None) -> Config:
    """The configuration that `serve` would use. Raises ConfigError."""
    return load(config_path or find(os.environ), os.environ, {"data_dir": data, "optimize": optimize})


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[tuple[App, TapeClock]]:
    """The App of that configuration over an empty data folder: it starts with nothing cached and leaves nothing."""
    with TemporaryDirectory(prefix="pennyweight-replay-") as folder:
        prices = config.data_dir / FILE_NAME
        if prices.is_file():  # what `prices update` left counts here too
            (Path(folder) / FILE_NAME).write_bytes(prices.read_bytes())
        clock = TapeClock()
        model = folder_of(config.embeddings, config.data_dir)  # where the gateway has it
        nobody = msgspec.structs.replace(config.experiments, holdout=0.0, act=False)  # what all optimizers would do
        alone = msgspec.structs.replace(
            config,
            data_dir=Path(folder),
            embeddings=msgspec.structs.replace(config.embeddings, folder=str(model.absolute())),
            experiments=nobody,
            adaptive=AdaptiveSettings(),
            lanes=LaneSettings(),
            pipeline=msgspec.structs.replace(config.pipeline, propose_s=_PATIENCE_S),
            resources=msgspec.structs.replace(config.resources, watch=False),
        )
        async with build(alone, clock=clock) as app:
            yield app, clock


def engine(app: App, clock: TapeClock) -> Engine:
    return Engine(
        consult=app.pipeline.consult,
        follow=app.pipeline.follow,
        settle=app.pipeline.settle,
        resolve=app.resolve,
        identify=lambda request: app.identify(request, "local"),
        cost=app.accounts.cost,
        count=BpeTokenizer().count,
        advance=clock.wind,
    )


def examined(
    app: App, calls: Sequence[Recorded], *, since: float = 0.0, progress: Callable[[int], None] = lambda _n: None
) -> Diagnosis:
    """What recorded calls missed in their providers' caches, at the App's prices and routes."""
    return diagnose(
        calls,
        resolve=app.resolve,
        identify=lambda request: app.identify(request, "local"),
        pricing=pricing(app.accounts.price),
        rules=CacheBook().rules,
        count=BpeTokenizer().count,
        since=since,
        progress=progress,
    )
