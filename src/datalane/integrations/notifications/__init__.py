"""Notifications: what members are told, by which channels, and what became of each message."""
