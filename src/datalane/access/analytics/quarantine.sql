-- What is held back: looking at it, mending it, landing it, giving it up.

-- name: list_held(workspace_id, status, event_name, place, before, page_size)
-- What is or was held back, the last to happen first.
SELECT source_event_id, event_name, event_version, occurred_at, received_at, subject, actor_id, correlation_id, observed_snapshot,
       payload, payload_validation_status, reasons, status, repaired, note, version, updated_at
FROM datalane.analytics_quarantine
WHERE workspace_id = :workspace_id AND status = :status AND (:event_name::text IS NULL OR event_name = :event_name)
  AND (:place::timestamptz IS NULL OR (occurred_at, source_event_id) < (:place, :before::text))
ORDER BY occurred_at DESC, source_event_id DESC LIMIT :page_size;

-- name: find_held(workspace_id, source_event_id)^
-- One event.
SELECT source_event_id, event_name, event_version, occurred_at, received_at, subject, actor_id, correlation_id, observed_snapshot,
       payload, payload_validation_status, reasons, status, repaired, note, version, updated_at
FROM datalane.analytics_quarantine WHERE workspace_id = :workspace_id AND source_event_id = :source_event_id;

-- name: repair_held(source_event_id, seen_version, event_name, event_version, payload, note, status, reasons, now)$
-- What stands in the place of what came, and what the plan says of it. The version it has now; null where it was not the one that was seen.
SELECT datalane.repair_analytics(:source_event_id::text, :seen_version::bigint, :event_name::text, :event_version::integer,
                                 :payload::text::jsonb, :note::text, :status::text, :reasons::text::jsonb, :now::timestamptz);

-- name: take_held(event_name, payload_validation_status, source_event_ids, since, until, place, behind, most, most_bytes)
-- Some that are held back, in the order in which they happened, for whoever replays them in turn.
SELECT t.source_event_id, t.event_name, t.event_version, t.occurred_at, t.subject, t.observed, t.payload
FROM datalane.take_analytics(:event_name::text, :payload_validation_status::text, :source_event_ids::text[], :since::timestamptz,
                             :until::timestamptz, :place::timestamptz, :behind::text, :most::integer, :most_bytes::bigint) AS t;

-- name: land_held(source_event_ids, tolerance, now)
-- Store what was held back; what became of each.
SELECT l.source_event_id, l.outcome, l.anomaly FROM datalane.land_analytics(:source_event_ids::text[], :tolerance::interval, :now::timestamptz) AS l;

-- name: explain_held(source_event_ids, statuses, reasons, now)$
-- Why they are held back, by the tracking plan as it is now.
SELECT datalane.explain_analytics(:source_event_ids::text[], :statuses::text[], (:reasons::text[])::jsonb[], :now::timestamptz);

-- name: pick_held(workspace_id, event_name, payload_validation_status, source_event_ids, since, until, most)
-- The ids of some that are held back, in the order in which they happened.
SELECT q.source_event_id FROM datalane.analytics_quarantine q
WHERE q.workspace_id = :workspace_id AND q.status = 'held' AND (:event_name::text IS NULL OR q.event_name = :event_name)
  AND (:payload_validation_status::text IS NULL OR q.payload_validation_status = :payload_validation_status)
  AND (:source_event_ids::text[] IS NULL OR q.source_event_id = ANY (:source_event_ids))
  AND (:since::timestamptz IS NULL OR q.occurred_at >= :since) AND (:until::timestamptz IS NULL OR q.occurred_at < :until)
ORDER BY q.occurred_at, q.source_event_id LIMIT :most;

-- name: discard_held(source_event_ids, reason, now)$
-- They are given up. How many.
SELECT datalane.discard_analytics(:source_event_ids::text[], :reason::text, :now::timestamptz);
