"""What Pennyweight claims, measured: `python -m bench.NAME [--data FILE…]` prints one JSON object."""
