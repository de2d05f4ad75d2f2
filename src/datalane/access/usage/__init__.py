"""Usage: what a workspace uses of its quotas, counted exactly, refused at the limit, and corrected with a trace."""
