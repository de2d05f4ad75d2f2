"""Access: what a workspace may do and how much of it, what it has used, and what is reported of that."""
