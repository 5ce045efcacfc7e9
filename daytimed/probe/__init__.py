"""daytime-get: ask a daytime server and say what it said. Standard library only, and starts fast."""
