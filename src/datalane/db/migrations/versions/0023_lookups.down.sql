DROP INDEX IF EXISTS datalane.feedback_by_chunk;
DROP INDEX IF EXISTS datalane.event_ingestion_refused;
