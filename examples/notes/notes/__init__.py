"""Notes: a slice of an application on the lane."""
