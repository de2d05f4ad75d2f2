DROP INDEX IF EXISTS datalane.event_ingestion_refused;
