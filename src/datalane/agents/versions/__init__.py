"""Versions of prompts, models, output schemas and prices."""
