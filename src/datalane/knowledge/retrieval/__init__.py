"""Retrieval: keyword, semantic and hybrid search over the current chunks of a workspace."""
