"""A cheap target's answer where it can be trusted, a stronger one's where it cannot."""

from .cascade import Cascade
from .logprobs import AskLogprobs

__all__ = ["AskLogprobs", "Cascade"]
