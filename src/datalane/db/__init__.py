"""The database: embedded server, roles, pool, the tenant door, migrations."""
