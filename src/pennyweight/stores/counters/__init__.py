"""Counters of budgets, in memory with a journal, SQLite, Redis and Postgres."""
