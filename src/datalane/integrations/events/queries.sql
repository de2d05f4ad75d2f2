-- name: list_events(workspace_id, since, before, most, event_type, source_system, subject_id, correlation_id, page_size)
-- Events among the next ones, the newest first: their ids are in the order of time.
SELECT e.event_id, e.event_type, e.version, e.source_system, e.source_event_id, e.subject_id, e.actor_id, e.occurred_at,
       e.received_at, e.correlation_id, e.causation_id, e.causation_depth, e.signature_verified
FROM (SELECT event_id, event_type, version, source_system, source_event_id, subject_id, actor_id, occurred_at, received_at,
             correlation_id, causation_id, causation_depth, signature_verified
      FROM datalane.events WHERE workspace_id = :workspace_id AND event_id < :before AND event_id >= :since
      ORDER BY event_id DESC LIMIT :most) AS e
WHERE (:event_type::text IS NULL OR e.event_type = :event_type)
  AND (:source_system::text IS NULL OR e.source_system = :source_system)
  AND (:subject_id::text IS NULL OR e.subject_id = :subject_id)
  AND (:correlation_id::text IS NULL OR e.correlation_id = :correlation_id)
ORDER BY e.event_id DESC LIMIT :page_size;

-- name: last_event_looked_at(workspace_id, since, before, most)$
-- The last of the next ones, if there are so many.
SELECT event_id FROM datalane.events WHERE workspace_id = :workspace_id AND event_id < :before AND event_id >= :since
ORDER BY event_id DESC OFFSET :most - 1 LIMIT 1;

-- name: list_ingestion(workspace_id, since, before, most, status, event_type, source_system, page_size)
-- Attempts to publish among the next ones, the newest first: their ids are in the order of time.
SELECT i.ingestion_id, i.event_id, i.event_type, i.source_system, i.source_event_id, i.ingestion_status, i.received_at,
       i.correlation_id, i.detail
FROM (SELECT ingestion_id, event_id, event_type, source_system, source_event_id, ingestion_status, received_at, correlation_id,
             detail
      FROM datalane.event_ingestion
      WHERE workspace_id = :workspace_id AND ingestion_id < :before AND ingestion_id >= :since
      ORDER BY ingestion_id DESC LIMIT :most) AS i
WHERE (:status::text IS NULL OR i.ingestion_status = :status)
  AND (:event_type::text IS NULL OR i.event_type = :event_type)
  AND (:source_system::text IS NULL OR i.source_system = :source_system)
ORDER BY i.ingestion_id DESC LIMIT :page_size;

-- name: last_attempt_looked_at(workspace_id, since, before, most)$
-- The last of the next ones, if there are so many.
SELECT ingestion_id FROM datalane.event_ingestion
WHERE workspace_id = :workspace_id AND ingestion_id < :before AND ingestion_id >= :since
ORDER BY ingestion_id DESC OFFSET :most - 1 LIMIT 1;

-- name: list_refused(workspace_id, since, before, most, status, event_type, source_system, page_size)
-- Those of another status than accepted: there are few, and they have an index of their own.
SELECT i.ingestion_id, i.event_id, i.event_type, i.source_system, i.source_event_id, i.ingestion_status, i.received_at,
       i.correlation_id, i.detail
FROM (SELECT ingestion_id, event_id, event_type, source_system, source_event_id, ingestion_status, received_at, correlation_id,
             detail
      FROM datalane.event_ingestion
      WHERE workspace_id = :workspace_id AND ingestion_status <> 'accepted' AND ingestion_status = :status
        AND ingestion_id < :before AND ingestion_id >= :since
      ORDER BY ingestion_id DESC LIMIT :most) AS i
WHERE (:event_type::text IS NULL OR i.event_type = :event_type)
  AND (:source_system::text IS NULL OR i.source_system = :source_system)
ORDER BY i.ingestion_id DESC LIMIT :page_size;

-- name: last_refusal_looked_at(workspace_id, since, before, most, status)$
-- The last of the next ones, if there are so many.
SELECT ingestion_id FROM datalane.event_ingestion
WHERE workspace_id = :workspace_id AND ingestion_status <> 'accepted' AND ingestion_status = :status
  AND ingestion_id < :before AND ingestion_id >= :since
ORDER BY ingestion_id DESC OFFSET :most - 1 LIMIT 1;
