"""Rules: when an event says so, do something."""
