"""Recorded traffic read back: readers of several formats, and the pipeline run over it without a network."""
