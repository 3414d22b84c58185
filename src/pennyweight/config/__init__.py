"""Configuration: a TOML file, the environment and the command line as frozen structs, and who answers which model."""

from __future__ import annotations

from .load import find, inspect, load
from .providers import KNOWN, is_loopback
from .resolve import Resolved, Resolver, resolve
from .settings import (
    Auth,
    Capture,
    Config,
    Experiments,
    FusingSettings,
    LedgerSettings,
    OptimizerRule,
    Otel,
    PipelineSettings,
    Provider,
    Proxies,
    RouteRule,
    Secret,
    Server,
    Timeouts,
    ToolRule,
)
from .toml import Problem

__all__ = [
    "KNOWN",
    "Auth",
    "Capture",
    "Config",
    "Experiments",
    "FusingSettings",
    "LedgerSettings",
    "OptimizerRule",
    "Otel",
    "PipelineSettings",
    "Problem",
    "Provider",
    "Proxies",
    "Resolved",
    "Resolver",
    "RouteRule",
    "Secret",
    "Server",
    "Timeouts",
    "ToolRule",
    "find",
    "inspect",
    "is_loopback",
    "load",
    "resolve",
]
