"""Text: token counts."""
