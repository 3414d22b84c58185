"""`python -m pennyweight`."""

from pennyweight.cli import main

main()
