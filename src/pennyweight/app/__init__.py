"""The only place where things are built and wired: a configuration in, a running App out, every lifetime in one stack.

`async with build(config) as app:` gives the outermost backend (`app.pipeline`) and what stands beside it. The gateway
serves it over HTTP, `AsyncClient` calls it directly, the CLI explains and replays with it.
"""

from .chores import loop_settings
from .parts import OPTIMIZERS, Parts
from .running import App, Watcher
from .selecting import open_selection
from .wiring import build

__all__ = ["OPTIMIZERS", "App", "Parts", "Watcher", "build", "loop_settings", "open_selection"]
