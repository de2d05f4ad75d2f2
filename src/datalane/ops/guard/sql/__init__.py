"""Rules on the SQL of revisions, read as parse trees of PostgreSQL's own grammar."""
