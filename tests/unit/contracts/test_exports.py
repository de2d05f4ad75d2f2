"""Exported files: the same for the same code, valid JSON Schemas, and read back as what they were."""

from __future__ import annotations

from pathlib import Path

import jsonschema_rs
import orjson
import pytest

from datalane.cli.described import describe_code, describe_http
from datalane.contracts.exports import Contracts, describe_contracts, read_folder, write_folder
from datalane.contracts.registry import BUILT_IN, EventRegistry
from datalane.contracts.review import review_contracts
from datalane.errors import InvalidInput

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def described() -> Contracts:
    return describe_code()


def test_the_same_code_exports_the_same_bytes(described: Contracts) -> None:
    registry = EventRegistry()
    for name, schema in reversed(list(BUILT_IN.items())):
        registry.register(name, schema)
    again = describe_contracts(registry, describe_http())
    built_in = {path for path in described.files if path in again.files}
    assert {path: again.files[path] for path in built_in} == {path: described.files[path] for path in built_in}
    assert built_in == again.files.keys()


def test_every_file_is_sorted_json_with_a_newline_at_its_end(described: Contracts) -> None:
    for text in described.files.values():
        value = orjson.loads(text)
        assert text == orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) + b"\n"


def test_every_event_and_every_body_is_a_schema_that_stands_alone(described: Contracts) -> None:
    schemas = [orjson.loads(text) for path, text in described.files.items() if path != "openapi.json"]
    assert len(schemas) > 40
    for schema in schemas:
        jsonschema_rs.Draft202012Validator(schema)


def test_a_folder_holds_what_was_written_and_nothing_older(described: Contracts, tmp_path: Path) -> None:
    write_folder(tmp_path, described)
    (tmp_path / "dtos" / "Gone.json").write_text("{}")
    (tmp_path / "consumers.toml").write_text("")
    assert write_folder(tmp_path, described) == ["dtos/Gone.json"]
    assert read_folder(tmp_path).files == described.files
    assert (tmp_path / "consumers.toml").exists()


def test_a_damaged_file_is_named(described: Contracts, tmp_path: Path) -> None:
    write_folder(tmp_path, described)
    (tmp_path / "openapi.json").write_text("<<<<<<< ours")
    with pytest.raises(InvalidInput, match=r"openapi\.json is not JSON"):
        read_folder(tmp_path)


def test_the_settings_of_the_environment_do_not_show(described: Contracts, monkeypatch: pytest.MonkeyPatch) -> None:
    describe_http.cache_clear()
    monkeypatch.setenv("DATALANE_LIMITS__PAGE_SIZE", "7")
    monkeypatch.setenv("DATALANE_API__ROOT_PATH", "/elsewhere")
    assert describe_code().files["openapi.json"] == described.files["openapi.json"]


def test_what_is_exported_breaks_nobody(described: Contracts) -> None:
    """That the folder is also up to date is what `make check` holds."""
    assert review_contracts(read_folder(ROOT / "contracts"), described).breaks == []
