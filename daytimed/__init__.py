"""The daytime service (RFC 867): the daemon `daytimed` and its probe `daytime-get`."""

__version__ = "0.1.0"
