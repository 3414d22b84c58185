"""The front: HTTP requests, from wherever they come, to calls on the App and back. No sockets here."""
