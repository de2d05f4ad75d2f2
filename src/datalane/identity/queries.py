"""The named queries of `queries.sql`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiosql

queries: Any = aiosql.from_path(Path(__file__).with_name("queries.sql"), "asyncpg")
