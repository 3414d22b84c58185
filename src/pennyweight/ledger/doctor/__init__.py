"""The cache doctor: for every prompt token that could have been read from the provider's cache and was not, why."""

from .doctor import Doctor, Rules, gather
from .finding import Finding, Group, Severity, grouped
from .miss import Code, Miss
from .sent import Pricing, Sent, is_whole, pricing, prompt_cost, sent

__all__ = [
    "Code",
    "Doctor",
    "Finding",
    "Group",
    "Miss",
    "Pricing",
    "Rules",
    "Sent",
    "Severity",
    "gather",
    "grouped",
    "is_whole",
    "pricing",
    "prompt_cost",
    "sent",
]
