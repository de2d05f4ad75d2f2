"""Documents, chunks, retrieval, answers and their citations."""
