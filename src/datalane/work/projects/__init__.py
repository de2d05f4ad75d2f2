"""Projects: what items may belong to."""
