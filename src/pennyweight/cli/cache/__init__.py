"""`pennyweight cache`: what caches did, what they keep, dropping some of it, and filling them beforehand."""

from __future__ import annotations

import click

from .entries import inspect_entries, purge_entries
from .stats import stats
from .warm import warm

__all__ = ["command"]


@click.group()
def command() -> None:
    """What caches did and keep.

    \b
    pennyweight cache stats                        how often they answered, how often rightly, what that saved
    pennyweight cache inspect --model 'gpt-5*'     what is kept
    pennyweight cache purge --older-than 7d        drop some of it
    pennyweight cache warm requests.jsonl          ask beforehand, so that answers are there
    """


command.add_command(stats)
command.add_command(inspect_entries)
command.add_command(purge_entries)
command.add_command(warm)
