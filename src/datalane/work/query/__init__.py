"""Lists of items: what may be asked, the SQL that answers it, and the routes."""
