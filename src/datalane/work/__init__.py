"""Core work: projects and items, the fields of their metadata, their timeline, the query API and saved views."""
