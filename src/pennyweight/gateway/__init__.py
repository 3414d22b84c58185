"""The gateway: the App over HTTP."""
