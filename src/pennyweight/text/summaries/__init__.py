"""Summaries that say nothing the text does not: its own sentences, or a model's words where they pass a check."""

from .checked import Problem, Source, checked, kept_true
from .extract import Summary, extend, summarize
from .facts import Fact, facts
from .written import Summarizer, Written, written

__all__ = [
    "Fact",
    "Problem",
    "Source",
    "Summarizer",
    "Summary",
    "Written",
    "checked",
    "extend",
    "facts",
    "kept_true",
    "summarize",
    "written",
]
