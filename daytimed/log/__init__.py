"""The log: events, rendered and written without waiting."""
