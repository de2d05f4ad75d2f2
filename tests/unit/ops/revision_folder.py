"""A copy of the migrations with one more revision in it, for faults to be seeded into."""

from __future__ import annotations

import shutil
from pathlib import Path

from datalane.db.revision import MIGRATIONS, known_revisions, newest_revision
from datalane.ops.guard.rules import Finding
from datalane.ops.guard.run import check_sources

HEADER = {
    "Intent": "orders of a shop.",
    "Rollback": "drops the table with its rows.",
    "Consumers": "the shop.",
    "Risk": "none, the table is new.",
    "Stories": "F3-E1-S1.",
}
MODULE = '''"""Orders.

{header}
"""

from datalane.db.migrate import run_sql

revision = "{number}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    {upgrade}


def downgrade() -> None:
    run_sql(__file__, "down")
'''
TABLE = """CREATE TABLE shop.orders (
    workspace_id uuid NOT NULL,
    order_id uuid NOT NULL,
    number integer NOT NULL,
    PRIMARY KEY (workspace_id, order_id)
);
SELECT app.protect('shop.orders', 'tenant');
"""
"""A table that breaks no rule; its three last columns and its key stand on lines 3 to 5."""


class Folder:
    """`path` is a folder of migrations with the first revision, or `whole` with all of them.

    `number` is that of the revision that `add` writes.
    """

    def __init__(self, path: Path, *, whole: bool = False) -> None:
        self.path, self.package = path / "migrations", path / "package"
        self.package.mkdir()
        left_out = [] if whole else [f"{number}_*" for number in known_revisions()[1:]]
        ignored = shutil.ignore_patterns("__pycache__", "released.json", *left_out)
        shutil.copytree(MIGRATIONS, self.path, ignore=ignored)
        self.newest = newest_revision() if whole else "0001"
        self.number = f"{int(self.newest) + 1:04}"

    @property
    def versions(self) -> Path:
        return self.path / "versions"

    def add(
        self,
        up: str = "SELECT 1;",
        down: str = "SELECT 1;",
        *,
        header: dict[str, str] | None = None,
        upgrade: str = 'run_sql(__file__, "up")',
        before: str | None = None,
    ) -> Folder:
        """Write the revision `NNNN_orders`."""
        said = "\n".join(f"{name}: {text}" for name, text in (HEADER if header is None else header).items())
        stem = f"{self.number}_orders"
        known = self.newest if before is None else before
        module = MODULE.format(header=said, number=self.number, before=known, upgrade=upgrade)
        (self.versions / f"{stem}.py").write_text(module)
        (self.versions / f"{stem}.up.sql").write_text(up)
        (self.versions / f"{stem}.down.sql").write_text(down)
        return self

    def findings(self) -> list[Finding]:
        return check_sources(self.path, self.package)

    def broken(self) -> set[str]:
        """The ids of the rules that are broken."""
        return {one.rule for one in self.findings()}
