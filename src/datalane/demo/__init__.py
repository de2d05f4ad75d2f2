"""The main job on real input, measured: ingest, search, cite, and try to look over the wall."""
