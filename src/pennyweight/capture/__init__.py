"""Recorded traffic: the format, the recorder, and redaction."""
