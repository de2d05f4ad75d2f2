"""Responses, their segments, and citations that can be checked against the stored text."""
