"""Rules on the catalog of a live database."""
