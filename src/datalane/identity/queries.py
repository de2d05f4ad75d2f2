"""The named queries of `queries.sql`."""

from __future__ import annotations

from datalane.db.named_queries import load_queries

queries = load_queries(__file__)
