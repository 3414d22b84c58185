"""The ledger: what each call cost, and who earned the difference."""
