"""What a list of items costs at a million items in one workspace.

``ground.py`` seeds the database as ``datalane seed work`` does. ``shapes.py`` asks every shape of the query API in
turns with SQL written by hand (``shapes.sql``), ``pages.py`` the first page and deep ones, ``http.py`` the API and a
bare FastAPI app (``bare.py``), ``writers.py`` lets 100 writers change one item. ``report.py`` makes ratios of them.
"""
