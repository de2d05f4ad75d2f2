"""Deliveries: one message to one endpoint, its attempts and what becomes of it."""
