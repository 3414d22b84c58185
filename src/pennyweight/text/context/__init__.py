"""How much of each part of a conversation to keep under a budget of tokens, so that most of its value stays. Pure."""

from .plan import LEVELS, Form, Level, Plan, plan
from .value import RETAINED, WEIGHTS, value
from .windows import window_of

__all__ = ["LEVELS", "RETAINED", "WEIGHTS", "Form", "Level", "Plan", "plan", "value", "window_of"]
