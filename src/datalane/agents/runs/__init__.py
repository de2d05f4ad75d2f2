"""Runs of agents: what they did, step by step, under a lease, and how each ended."""
