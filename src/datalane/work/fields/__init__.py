"""Fields: what a workspace says of the metadata of its items."""
