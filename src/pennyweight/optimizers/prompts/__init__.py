"""Puts the system prompt of a session together from its parts: those that the task is about, the rest in short."""

from .optimizer import Parts, Prompts, Settings, build

__all__ = ["Parts", "Prompts", "Settings", "build"]
