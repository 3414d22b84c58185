"""Optimizers: each proposes a change to one call, and knows none of the others."""
