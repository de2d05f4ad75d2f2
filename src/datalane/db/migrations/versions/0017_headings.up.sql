-- What stands above a chunk in its document, from the highest heading: `Guide › Install`. Null where there is none, and in what was
-- indexed before.
ALTER TABLE datalane.chunks ADD COLUMN heading text;
