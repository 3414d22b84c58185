"""Generation parameters by task and model, forms of answers by name, and lower precision for tasks of low impact."""

from .optimizer import Parameters, Rule, Settings, build

__all__ = ["Parameters", "Rule", "Settings", "build"]
