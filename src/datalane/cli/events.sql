-- name: list_events(since, until, event_type, source_system, correlation_id, most)
-- For the operator: events of every workspace, the newest first.
SELECT workspace_id, event_id, event_type, version, source_system, received_at, correlation_id, causation_depth
FROM datalane.events
WHERE event_id >= :since AND event_id < :until
  AND (:event_type::text IS NULL OR event_type = :event_type)
  AND (:source_system::text IS NULL OR source_system = :source_system)
  AND (:correlation_id::text IS NULL OR correlation_id = :correlation_id)
ORDER BY event_id DESC LIMIT :most;

-- name: list_ingestion(since, until, status, event_type, source_system, most)
-- For the operator: attempts to publish of every workspace, the newest first.
SELECT workspace_id, ingestion_id, event_id, event_type, source_system, ingestion_status, received_at, correlation_id
FROM datalane.event_ingestion
WHERE ingestion_id >= :since AND ingestion_id < :until
  AND (:status::text IS NULL OR ingestion_status = :status)
  AND (:event_type::text IS NULL OR event_type = :event_type)
  AND (:source_system::text IS NULL OR source_system = :source_system)
ORDER BY ingestion_id DESC LIMIT :most;

-- name: locate_event(event_id)
-- For the operator: in which workspaces an event is.
SELECT workspace_id FROM datalane.events WHERE event_id = :event_id;
