"""The database before anything uses it: addresses known, roles made, schema at the revision of this version."""

from __future__ import annotations

from importlib import import_module

from datalane.db.access import Prepared, addresses_on
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.home import Home
from datalane.db.revision import applied_revision, newest_revision
from datalane.db.roles import Roles
from datalane.errors import ConfigurationError, DatabaseUnavailable
from datalane.settings import Settings

EMBEDDED_DATABASE = "datalane"


def load_ahead(server: EmbeddedPostgres) -> None:
    """Load the code that the database will be prepared with, while the server's own programs work.

    A new folder needs all of it, a known one mostly the driver, to see that nothing is to be done.
    """
    import_module("datalane.db.migrate" if server.is_new else "psycopg")


def embedded_addresses(server: EmbeddedPostgres, home: Home, settings: Settings) -> Prepared:
    """Where the embedded database is, or will be. Call it with the home's lock held."""
    return addresses_on(server.place, EMBEDDED_DATABASE, home.credentials(), Roles(settings.role_prefix))


def prepare_embedded(server: EmbeddedPostgres, home: Home, settings: Settings) -> None:
    """Prepare the running server's lane unless it is at the newest revision already."""
    known = embedded_addresses(server, home, settings)
    try:
        if applied_revision(known.database_url) == newest_revision():
            return
    except DatabaseUnavailable:
        pass  # the roles or the database are not there yet, or have other passwords; preparing mends that
    from datalane.db.provision import prepare

    prepare(server.url(), EMBEDDED_DATABASE, home.credentials(), Roles(settings.role_prefix))


def migrate_external(known: Prepared, settings: Settings) -> None:
    """Migrate the configured database when it is behind and the maintenance login is known.

    Raises `ConfigurationError` when the schema is behind and may not be migrated from here.
    """
    newest = newest_revision()
    applied = applied_revision(known.database_url)
    if applied is not None and applied >= newest:
        return
    if not known.maintenance_url:
        raise ConfigurationError(
            f"the database is at revision {applied or 'none'}, this version needs {newest}; "
            "run `datalane migrate up` with DATALANE_MAINTENANCE_URL set"
        )
    from datalane.db.migrate import upgrade

    upgrade(known.maintenance_url, Roles(settings.role_prefix))
