"""How good search is on judged queries: runs that are kept, and compared."""
