-- name: list_ingestion(workspace_id, status, event_type, source_system, before, page_size)
-- Attempts to publish, the newest first: their ids are in the order of time.
SELECT ingestion_id, event_id, event_type, source_system, source_event_id, ingestion_status, received_at, correlation_id,
       detail
FROM datalane.event_ingestion
WHERE workspace_id = :workspace_id AND (:before::uuid IS NULL OR ingestion_id < :before)
  AND (:status::text IS NULL OR ingestion_status = :status)
  AND (:event_type::text IS NULL OR event_type = :event_type)
  AND (:source_system::text IS NULL OR source_system = :source_system)
ORDER BY ingestion_id DESC LIMIT :page_size;

-- name: list_refused(workspace_id, status, event_type, source_system, before, page_size)
-- Those of another status than accepted: there are few, and they have an index of their own.
SELECT ingestion_id, event_id, event_type, source_system, source_event_id, ingestion_status, received_at, correlation_id,
       detail
FROM datalane.event_ingestion
WHERE workspace_id = :workspace_id AND ingestion_status <> 'accepted' AND ingestion_status = :status
  AND (:before::uuid IS NULL OR ingestion_id < :before)
  AND (:event_type::text IS NULL OR event_type = :event_type)
  AND (:source_system::text IS NULL OR source_system = :source_system)
ORDER BY ingestion_id DESC LIMIT :page_size;
