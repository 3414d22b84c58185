"""System prompts in modules: cut, put together for a session, and looked over for what is wasted. Pure."""

from .assemble import Assembled, Session, assemble
from .files import file_name, read_module, written
from .lint import Finding, Used, lint
from .module import Entry, Module, When
from .split import split

__all__ = [
    "Assembled",
    "Entry",
    "Finding",
    "Module",
    "Session",
    "Used",
    "When",
    "assemble",
    "file_name",
    "lint",
    "read_module",
    "split",
    "written",
]
