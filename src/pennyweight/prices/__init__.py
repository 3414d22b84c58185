"""Which price a model has, and when."""
