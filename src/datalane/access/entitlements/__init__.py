"""Entitlements: the plans of the vendor, which one a workspace has when, and what was agreed beside it."""
