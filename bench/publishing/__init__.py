"""One event published over HTTP, beside an app that inserts a row.

    python -m bench.publishing

See `bench/README.md`.
"""
