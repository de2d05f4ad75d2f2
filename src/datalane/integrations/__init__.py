"""Integrations and automation: what comes from other systems and what goes to them."""
