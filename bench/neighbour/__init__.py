"""Small workspaces beside one of 200,000 chunks, and that one's own index."""
