"""The cache doctor: for every prompt token that could have been read from the provider's cache and was not, why."""

from .diagnose import Code, Miss
from .doctor import Doctor, Rules
from .finding import Finding, Group, Severity, grouped
from .sent import Pricing, Sent, pricing, sent

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
    "grouped",
    "pricing",
    "sent",
]
