"""Outbound webhooks: events of a workspace, delivered to the URLs that it names."""
