"""Search inside one workspace: an inverted index and BM25 in SQL."""
