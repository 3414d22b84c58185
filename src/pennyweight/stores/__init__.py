"""Stores: bytes, counters and receipts that outlive a call."""
