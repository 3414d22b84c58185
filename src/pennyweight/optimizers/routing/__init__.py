"""Sends a call that names a virtual model to the target that fits it best: see `pennyweight.routing`."""

from .optimizer import Routing, Settings, build

__all__ = ["Routing", "Settings", "build"]
