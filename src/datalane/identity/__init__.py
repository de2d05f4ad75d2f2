"""Who acts and where: accounts, sessions, workspaces, memberships, API keys."""
