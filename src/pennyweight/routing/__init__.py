"""Which target a call goes to when its caller leaves that open: tiers, virtual models, task types, chances of success.

Pure but for what it remembers; it asks nobody. The optimizer `routing` proposes what is decided here.
"""
