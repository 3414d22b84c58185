"""OpenClaw's heartbeats: see `optimizer`."""

from .optimizer import Heartbeat, Settings, build

__all__ = ["Heartbeat", "Settings", "build"]
