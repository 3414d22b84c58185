"""Answers in flight that are shared beyond one process: with calls of other replicas."""
