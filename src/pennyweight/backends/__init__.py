"""Backends: what answers a call, and the wrappers around it."""
