"""Cheap lanes: calls that can wait go to a provider's Batch API; small ones that come together go upstream together."""
