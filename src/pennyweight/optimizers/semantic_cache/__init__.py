"""Answers given once, served again for questions that mean the same."""
