"""The command line. A command's module is imported only when it is called, so `--help` and `serve` start fast."""

from __future__ import annotations

import errno
import io
import sys
from importlib import import_module

import click

from .. import __version__
from ..errors import PennyweightError

_COMMANDS = {
    "serve": ("Run the gateway.", "serve"),
    "demo": ("Play a recorded agent session through a gateway and show the bill.", "demo"),
    "check": ("Validate the configuration and say what to fix.", "check"),
    "connect": ("Show or write what a client needs to use the gateway.", "connect"),
    "report": ("What calls cost, and what was saved.", "report"),
    "audit": ("Compare the ledger with a provider's usage or cost export.", "audit"),
    "advice": ("What should be changed, what it costs, and the exact setting.", "advice"),
    "cache": ("What caches did and keep: stats, inspect, purge, warm.", "cache"),
    "lanes": ("Calls that wait for a cheaper answer, and batches on their way.", "lanes"),
    "batch": ("A file of requests, answered when that is cheap: submit, status, fetch.", "batch"),
    "cascade": ("What cascades keep of cheap answers, and by what: show, train.", "cascade"),
    "references": ("Texts that were left out of requests: show one.", "references"),
    "experiments": ("What optimizers do to the sessions that have them; switch one.", "experiments"),
    "selection": ("Which of several does a task best, learnt from how tasks went.", "selection"),
    "explain": ("What each optimizer would do with a request, and why.", "explain"),
    "replay": ("Run recorded traffic through the pipeline: cost before and after.", "replay"),
    "doctor": ("Why prompts were not read from the provider's cache, and the fix.", "doctor"),
    "compress": ("Shorten a text as a tool result is, and show what became of its tokens.", "compress"),
    "compact": ("Bring the messages of a request under a budget of tokens.", "compact"),
    "capture": ("Record the traffic of chosen sessions to files.", "capture"),
    "prompts": ("System prompts in modules: split, assemble, lint.", "prompts"),
    "tiers": ("Which tiers the calls to virtual models went to.", "tiers"),
    "agents": ("Agents on tiers: import, list, profile by outcomes, try another tier.", "agents"),
    "budgets": ("What may be spent: how budgets stand, begin one anew.", "budgets"),
    "sessions": ("Sessions that a budget has halted: what they were about.", "sessions"),
    "router": ("The learned router: train it on outcomes, show what it knows.", "router"),
    "keys": ("Virtual keys: add, list, revoke.", "keys"),
    "models": ("The embedding model of the semantic cache: pull, list, remove.", "models"),
    "local": ("What local servers have loaded, what fits, what a lower precision costs.", "local"),
    "prices": ("The price book: show, look up, update.", "prices"),
}


class _Lazy(click.Group):
    """A group whose commands are `pennyweight.cli.<module>:command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(f"{__name__}.{_COMMANDS[cmd_name][1]}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (line, _) in _COMMANDS.items()])


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pennyweight")
def cli() -> None:
    """Pennyweight: make AI agents cost less, and prove it.

    \b
    pennyweight demo                    see it work, no key needed
    pennyweight serve                   run the gateway with the keys in your environment
    pennyweight connect claude-code     point a client at it
    pennyweight report                  look at the bill
    """


_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.ENAMETOOLONG}


def main() -> None:
    """Entry point: our own errors, and a file that the machine refuses, become one line on stderr and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")  # a terminal without the letter shows "?"; stderr does likewise
    try:
        cli(prog_name="pennyweight")
    except PennyweightError as error:
        click.echo(f"pennyweight: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _REFUSED or error.filename is None:
            raise
        remedy = "See to its permissions and room; another data folder is chosen with --data."
        click.echo(f"pennyweight: {error.filename}: {error.strerror}. {remedy}", err=True)
        sys.exit(2)
