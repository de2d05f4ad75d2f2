"""The lane's own agent: it answers from the workspace's documents and cites what it says, with a model or without."""
