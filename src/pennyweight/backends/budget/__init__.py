"""Budgets that hold: per call, session, agent, key and in all; per hour, day and month; in money or tokens.

`Budgets` takes what a call may come to and sets it right afterwards, `Budgeted` asks it before every request to a
provider, and `Guarded` says at the top what a refusal means for the session.
"""

from .budgeted import Budgeted
from .budgets import Budgets, Event, Hold, State
from .settings import Budgeting, BudgetRule

__all__ = ["BudgetRule", "Budgeting", "Budgets", "Event", "Hold", "Budgeted", "State"]
