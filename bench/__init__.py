"""Benchmarks that compare Datalane with its peers on one PostgreSQL server."""
