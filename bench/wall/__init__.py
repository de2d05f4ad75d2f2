"""What the wall costs: tenant reads with and without row security, and the door against BEGIN.

The ground (``ground.py``) is one database with the product's own migrations and roles. The same rows stand in
``datalane.documents`` and, without row security, in a copy of that table. ``measure.py`` takes the times and counts the
round trips, ``report.py`` makes ratios of them.
"""
