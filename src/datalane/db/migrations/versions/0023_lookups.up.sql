CREATE INDEX IF NOT EXISTS event_ingestion_refused ON datalane.event_ingestion (workspace_id, ingestion_status, ingestion_id)
    WHERE ingestion_status <> 'accepted';
CREATE INDEX IF NOT EXISTS feedback_by_chunk ON datalane.feedback (workspace_id, chunk_id) WHERE chunk_id IS NOT NULL;
