"""Indexes over the vectors of one workspace. The maintenance process builds them, measures them against exact search,
and drops them."""
