"""Users, sessions, workspaces, memberships and API keys."""
