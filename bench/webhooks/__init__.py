"""Delivering webhooks to a receiver on this machine, beside a bare loop over httpx."""
