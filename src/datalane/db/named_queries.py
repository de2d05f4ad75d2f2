"""Named SQL queries from a `.sql` file beside the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiosql
from aiosql.adapters.asyncpg import AsyncPGAdapter


class _RowsAdapter(AsyncPGAdapter):  # type: ignore[misc]
    """Row queries answer lists. The stock adapter answers generators, which outlive the transaction they read.

    Declared as not asynchronous, so that the library hands our coroutines on as they are.
    """

    is_aio_driver = False

    async def select(
        self, conn: Any, query_name: str, sql: str, parameters: Any, record_class: Any = None
    ) -> list[Any]:
        rows = await conn.fetch(sql, *self.maybe_order_params(query_name, parameters))
        return list(rows) if record_class is None else [record_class(**row) for row in rows]


def load_queries(code_file: str, name: str = "queries.sql") -> Any:
    """The queries of the file `name` beside `code_file`, as coroutines taking an asyncpg connection first.

    By suffix of the name: none answers a list of rows, `^` one row or None, `$` one value, `!` the status.
    """
    return aiosql.from_path(Path(code_file).parent / name, driver_adapter=_RowsAdapter)
