"""Small tools without a database: clock, ids, lifecycles, retry decisions, redaction."""
