"""The guard: every rule that a schema change has to keep, on the revisions' text and on a live catalog.

Rules are small functions in files by subject (`revision_rules`, `released`, `sql/`, `catalog/`, `drift`, `waivers`),
each with an id, what it holds, a remedy and the story it serves. In `run`, `check_sources` reads files only,
`check_scratch` migrates a scratch database up, down and up again, and `check_live` compares a live one with it.
"""
