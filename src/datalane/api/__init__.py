"""The HTTP face: authentication, problem documents, limits, idempotent answers, routes."""
