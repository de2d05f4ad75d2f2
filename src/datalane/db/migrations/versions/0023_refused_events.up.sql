CREATE INDEX IF NOT EXISTS event_ingestion_refused ON datalane.event_ingestion (workspace_id, ingestion_status, ingestion_id)
    WHERE ingestion_status <> 'accepted';
