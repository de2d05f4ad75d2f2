"""What a policy class does not imply and the lane has all the same, each with its reason."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Declared:
    """`global_tables` by `schema.table`, `policies` by `schema.table.policy`, `grants` by `schema.table.role`."""

    global_tables: Mapping[str, str]
    policies: Mapping[str, str]
    grants: Mapping[str, str]


def read_declared() -> Declared:
    said = tomllib.loads(Path(__file__).with_name("declared.toml").read_text())
    return Declared(said["global_tables"], said["policies"], said["grants"])
