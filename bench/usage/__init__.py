"""Using quotas beside plain updates of a row."""
