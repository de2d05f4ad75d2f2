"""The timeline: one entry for each change of a project or an item."""
