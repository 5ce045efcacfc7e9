"""The configuration: its settings, and how it is loaded and written."""
