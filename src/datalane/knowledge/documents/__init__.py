"""Documents and their versions: upload, list, get, delete."""
