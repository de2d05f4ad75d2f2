"""The revisions of a folder, read as text: nothing of them is imported or run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from datalane.errors import ConfigurationError
from datalane.ops.guard.sql.script import Script

SECTIONS = ("Intent", "Rollback", "Consumers", "Risk", "Stories")
"""What the docstring of every revision states."""

_SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):[ \t]*", re.MULTILINE)
_FILE = re.compile(r"(\d{4})_\w+\.py")


@dataclass(frozen=True)
class Revision:
    """One `NNNN_name.py` and the scripts beside it."""

    path: Path
    module: ast.Module = field(repr=False)

    @property
    def number(self) -> str:
        return self.path.name[:4]

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def header(self) -> dict[str, str]:
        """The sections of the docstring."""
        parts = _SECTION.split(ast.get_docstring(self.module) or "")
        return {name: " ".join(text.split()) for name, text in zip(parts[1::2], parts[2::2], strict=True)}

    def constant(self, name: str) -> object:
        """The value of a module constant; `...` when it is missing or computed."""
        for node in self.module.body:
            targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                value = getattr(node, "value", None)
                return value.value if isinstance(value, ast.Constant) else ...
        return ...

    def steps(self, direction: str) -> Iterator[ast.stmt]:
        """The statements of `upgrade` or `downgrade`."""
        for node in self.module.body:
            if isinstance(node, ast.FunctionDef) and node.name == direction:
                yield from node.body

    def scripts(self, direction: str) -> list[str]:
        """The names (`up`, `verbs`, `down`) of the scripts that `upgrade` or `downgrade` runs, in order."""
        return [name for step in self.steps(direction) if (name := script_name(step)) is not None]

    @cached_property
    def up(self) -> list[Script]:
        """The scripts that bring it up and exist."""
        return self._read("upgrade")

    @cached_property
    def down(self) -> list[Script]:
        return self._read("downgrade")

    def _read(self, direction: str) -> list[Script]:
        paths = [self.path.with_suffix(f".{name}.sql") for name in self.scripts(direction)]
        return [Script.read(path) for path in paths if path.is_file()]

    @property
    def files(self) -> list[Path]:
        """Everything that belongs to it: the module and all scripts of its name."""
        return sorted(path for path in self.path.parent.glob(f"{self.number}_*") if path.is_file())


def script_name(step: ast.stmt) -> str | None:
    """`up` for the statement `run_sql(__file__, "up")`, None for any other."""
    match step:
        case ast.Expr(
            value=ast.Call(
                func=ast.Name(id="run_sql"),
                args=[ast.Name(id="__file__"), ast.Constant(value=str(name))],
                keywords=[],
            )
        ):
            return name
    return None


def read_revisions(versions: Path) -> list[Revision]:
    """All revisions of the folder by number. Raises `ConfigurationError` when there are none or one is not Python."""
    paths = sorted(path for path in versions.glob("*.py") if _FILE.fullmatch(path.name))
    if not paths:
        raise ConfigurationError(f"there are no revisions in {versions}; the package is not installed whole")
    return [Revision(path, _parse(path)) for path in paths]


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text())
    except SyntaxError as error:
        raise ConfigurationError(f"{path.name} is not Python: {error.msg} in line {error.lineno}") from error
