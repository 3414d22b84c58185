"""The one way through: ask the optimizers, judge what they propose, open the backend, hand the outcome to the clerk."""

from .judging import judge
from .pipeline import Pipeline
from .replaying import replay

__all__ = ["Pipeline", "judge", "replay"]
