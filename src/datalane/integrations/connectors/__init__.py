"""Connections to other systems: sealed credentials, their rotation, and the health of each."""
