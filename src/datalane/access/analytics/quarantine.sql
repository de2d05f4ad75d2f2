-- What is held back: looking at it, mending it, landing it, giving it up.

-- name: list_held(workspace_id, status, event_name, place, before, page_size)
-- What is or was held back, the last to happen first.
SELECT source_event_id, event_name, event_version, occurred_at, received_at, subject, actor_id, correlation_id, observed_snapshot,
       payload, payload_validation_status, reasons, status, repaired, note, version, updated_at
FROM datalane.analytics_quarantine
WHERE workspace_id = :workspace_id AND status = :status AND (:event_name::text IS NULL OR event_name = :event_name)
  AND (:place::timestamptz IS NULL OR (occurred_at, source_event_id) < (:place, :before::text))
ORDER BY occurred_at DESC, source_event_id DESC LIMIT :page_size;

-- name: lock_held(workspace_id, source_event_id)^
-- One event, for whoever changes it in turn.
SELECT source_event_id, event_name, event_version, occurred_at, received_at, subject, actor_id, correlation_id, observed_snapshot,
       payload, payload_validation_status, reasons, status, repaired, note, version, updated_at
FROM datalane.analytics_quarantine WHERE workspace_id = :workspace_id AND source_event_id = :source_event_id FOR UPDATE;

-- name: repair_held(workspace_id, source_event_id, repaired, note, status, reasons, now)^
-- What stands in the place of what came, and what the plan says of it.
UPDATE datalane.analytics_quarantine
SET repaired = :repaired, note = :note, payload_validation_status = :status, reasons = :reasons, version = version + 1, updated_at = :now
WHERE workspace_id = :workspace_id AND source_event_id = :source_event_id
RETURNING source_event_id, event_name, event_version, occurred_at, received_at, subject, actor_id, correlation_id, observed_snapshot,
          payload, payload_validation_status, reasons, status, repaired, note, version, updated_at;

-- name: take_held(workspace_id, event_name, payload_validation_status, source_event_ids, since, until, place, behind, most)
-- Some that are held back, in the order in which they happened, for whoever replays them in turn.
SELECT q.source_event_id, coalesce(q.repaired ->> 'event_name', q.event_name) AS event_name,
       coalesce((q.repaired ->> 'event_version')::integer, q.event_version) AS event_version, q.occurred_at, q.subject,
       q.observed_snapshot::text AS observed, coalesce(q.repaired -> 'payload', q.payload)::text AS payload
FROM datalane.analytics_quarantine q
WHERE q.workspace_id = :workspace_id AND q.status = 'held' AND (:event_name::text IS NULL OR q.event_name = :event_name)
  AND (:payload_validation_status::text IS NULL OR q.payload_validation_status = :payload_validation_status)
  AND (:source_event_ids::text[] IS NULL OR q.source_event_id = ANY (:source_event_ids))
  AND (:since::timestamptz IS NULL OR q.occurred_at >= :since) AND (:until::timestamptz IS NULL OR q.occurred_at < :until)
  AND (:place::timestamptz IS NULL OR (q.occurred_at, q.source_event_id) > (:place, :behind::text))
ORDER BY q.occurred_at, q.source_event_id LIMIT :most FOR UPDATE;

-- name: land_events(source_event_ids, event_names, event_versions, occurred_ats, subjects, observed, payloads, tolerance, now)
-- Store what was held back; the places of what was not stored, and of what differs.
SELECT l.ordinal, l.outcome FROM datalane.land_analytics(
    :source_event_ids::text[], :event_names::text[], :event_versions::integer[], :occurred_ats::timestamptz[], :subjects::text[],
    (:observed::text[])::jsonb[], (:payloads::text[])::jsonb[], :tolerance::interval, :now::timestamptz) AS l;

-- name: move_held(workspace_id, source_event_ids, status, note, now)
-- They landed, or are given up.
UPDATE datalane.analytics_quarantine SET status = :status, note = coalesce(:note, note), version = version + 1, updated_at = :now
WHERE workspace_id = :workspace_id AND source_event_id = ANY (:source_event_ids::text[]) AND status = 'held'
RETURNING source_event_id;

-- name: say_reasons(workspace_id, source_event_ids, statuses, reasons, now)!
-- Why they are held back, by the tracking plan as it is now.
UPDATE datalane.analytics_quarantine q
SET payload_validation_status = i.status, reasons = i.reasons, version = version + 1, updated_at = :now
FROM unnest(:source_event_ids::text[], :statuses::text[], (:reasons::text[])::jsonb[]) AS i (source_id, status, reasons)
WHERE q.workspace_id = :workspace_id AND q.source_event_id = i.source_id AND q.status = 'held' AND q.reasons <> i.reasons;
