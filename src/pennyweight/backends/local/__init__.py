"""Local model servers: what they have loaded, what that takes, and who makes room for a call.

`Machine` asks Ollama, llama-swap and llama-server in the background and is a Backend around the calls that go there.
"""

from .books import Place, State
from .machine import Machine
from .room import Room

__all__ = ["Machine", "Place", "Room", "State"]
