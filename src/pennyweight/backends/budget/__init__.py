"""Budgets that hold: per call, session, agent, key and in all; per hour, day and month; in money or tokens.

`budgets.Budgets` takes what a call may come to and sets it right afterwards, `budgeted.Budgeted` asks it before every
request to a provider, and `guarded.Guarded` says at the top what a refusal means for the session.
"""
