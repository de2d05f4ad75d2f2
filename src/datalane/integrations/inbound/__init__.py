"""Webhooks that connected systems send: checked, taken once, and published as events."""
