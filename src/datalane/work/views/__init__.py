"""Saved views: queries of items under a name."""
