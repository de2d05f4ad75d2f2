"""No setting is for show: the package reads every one of them somewhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

import datalane
from datalane.knowledge.chunking import MAX_CHUNKS
from datalane.knowledge.parsing import TITLE_CHARACTERS
from datalane.settings import Limits, Settings

SOURCES = Path(datalane.__file__).parent
ROOT = "settings"


def settings_of(model: type[BaseModel], group: str = ROOT) -> Iterator[tuple[str, str]]:
    """Each setting as the name of its group and its own."""
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from settings_of(type(field.default), name)
        else:
            yield group, name


def reads_in(source: str, at_home: bool = False) -> Iterator[tuple[str, str]]:
    """Each `limits.upload` or `tx.limits.upload` that is read, as (`limits`, `upload`); names may begin with `_`.

    At home, in the module of the settings, `self` is the settings.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            yield (ROOT if at_home and name == "self" else name.lstrip("_")), node.attr


def unread(model: type[BaseModel], read: set[tuple[str, str]]) -> list[str]:
    return [f"{group}.{name}" for group, name in settings_of(model) if (group, name) not in read]


def test_every_setting_is_read_by_the_package() -> None:
    read: set[tuple[str, str]] = set()
    for path in SOURCES.rglob("*.py"):
        read |= set(reads_in(path.read_text(), path == SOURCES / "settings" / "__init__.py"))
    assert unread(Settings, read) == []


def test_a_setting_that_nothing_reads_is_found() -> None:
    class Group(BaseModel):
        used: int = 1
        written: int = 1
        named: int = 1

    class Some(BaseModel):
        top: int = 1
        group: Group = Group()

    source = "settings.group.written = settings.top + tx.group.used + other.named\nnamed = 'group.named'"
    assert unread(Some, set(reads_in(source))) == ["group.written", "group.named"]


def test_what_parses_documents_has_the_defaults_of_the_settings() -> None:
    """The child processes do without the settings module, whose import would be felt in each."""
    assert (Limits().chunks_per_document, Limits().title_characters) == (MAX_CHUNKS, TITLE_CHARACTERS)
