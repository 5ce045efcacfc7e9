"""daytime-get: asks daytime servers for the time and judges their replies. Standard library only, to start fast."""
