"""The embedding models of a workspace: which there are, which make vectors, which one is searched."""
