"""The dashboard at `/`: one page, and the JSON that it reads."""
