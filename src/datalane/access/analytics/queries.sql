-- Recording events, and reading them.

-- name: find_tracked(workspace_id, names)
-- The versions of events of some names; those of the application take the place of the workspace's.
WITH application AS MATERIALIZED (
    SELECT t.tracking_id, t.event_name, t.event_version, t.retired_at FROM datalane.read_tracked_events(:names::text[]) AS t
)
SELECT t.tracking_id, t.event_name, t.event_version, t.retired_at IS NOT NULL AS is_retired FROM application t
UNION ALL
SELECT p.tracking_id, p.event_name, p.event_version, r.retired_at IS NOT NULL
FROM datalane.tracking_plan p
LEFT JOIN datalane.tracking_retirements r
    ON r.workspace_id = p.workspace_id AND r.event_name = p.event_name AND r.event_version = p.event_version
WHERE p.workspace_id = :workspace_id AND p.event_name = ANY (:names::text[])
  AND NOT EXISTS (SELECT FROM application t WHERE t.event_name = p.event_name);

-- name: read_schemas(workspace_id, names, tracking_ids)
-- The schemas of some versions of events of some names.
SELECT t.tracking_id, t.json_schema FROM datalane.read_tracked_events(:names::text[]) AS t WHERE t.tracking_id = ANY (:tracking_ids::uuid[])
UNION ALL
SELECT p.tracking_id, p.json_schema FROM datalane.tracking_plan p
WHERE p.workspace_id = :workspace_id AND p.tracking_id = ANY (:tracking_ids::uuid[]);

-- name: record_events(source_event_ids, event_names, event_versions, occurred_ats, subjects, observed, payloads, tolerance, actor_id, correlation_id, now)
-- Store valid events; the places of what was not stored, and of what differs.
SELECT r.ordinal, r.outcome FROM datalane.record_analytics(
    :source_event_ids::text[], :event_names::text[], :event_versions::integer[], :occurred_ats::timestamptz[], :subjects::text[],
    (:observed::text[])::jsonb[], (:payloads::text[])::jsonb[], :tolerance::interval, :actor_id::uuid,
    :correlation_id::text, :now::timestamptz) AS r;

-- name: hold_events(source_event_ids, event_names, event_versions, occurred_ats, subjects, observed, payloads, statuses, reasons, actor_id, correlation_id, now)
-- Hold events back; the places of what was not.
SELECT h.ordinal, h.outcome FROM datalane.hold_analytics(
    :source_event_ids::text[], :event_names::text[], :event_versions::integer[], :occurred_ats::timestamptz[], :subjects::text[],
    (:observed::text[])::jsonb[], (:payloads::text[])::jsonb[], :statuses::text[], (:reasons::text[])::jsonb[], :actor_id::uuid,
    :correlation_id::text, :now::timestamptz) AS h;

-- name: list_events(workspace_id, event_name, status, subject, actor_id, since, until, place, before, page_size)
-- Events and those that are held back, the last to happen first.
SELECT u.source_event_id, u.event_name, u.event_version, u.occurred_at, u.received_at, u.subject, u.actor_id, u.correlation_id,
       u.plan_id, u.entitlement_snapshot, u.observed_snapshot, u.payload_validation_status, u.quarantined, u.payload
FROM (
    (SELECT e.source_event_id, e.event_name, e.event_version, e.occurred_at, e.received_at, e.subject, e.actor_id, e.correlation_id,
            e.plan_id, e.entitlement_snapshot, e.observed_snapshot, e.payload_validation_status, false AS quarantined, e.payload
     FROM datalane.analytics_events e
     WHERE e.workspace_id = :workspace_id AND coalesce(:status::text, 'valid') = 'valid'
       AND (:event_name::text IS NULL OR e.event_name = :event_name) AND (:subject::text IS NULL OR e.subject = :subject)
       AND (:actor_id::uuid IS NULL OR e.actor_id = :actor_id)
       AND (:since::timestamptz IS NULL OR e.occurred_at >= :since) AND (:until::timestamptz IS NULL OR e.occurred_at < :until)
       AND (:place::timestamptz IS NULL OR e.occurred_at <= :place)
       AND (:place::timestamptz IS NULL OR (e.occurred_at, e.source_event_id) < (:place, :before))
     ORDER BY e.occurred_at DESC, e.source_event_id DESC LIMIT :page_size)
    UNION ALL
    (SELECT q.source_event_id, q.event_name, q.event_version, q.occurred_at, q.received_at, q.subject, q.actor_id, q.correlation_id,
            NULL::text, NULL::jsonb, q.observed_snapshot, q.payload_validation_status, true, q.payload
     FROM datalane.analytics_quarantine q
     WHERE q.workspace_id = :workspace_id AND q.status = 'held' AND (:status::text IS NULL OR q.payload_validation_status = :status)
       AND (:event_name::text IS NULL OR q.event_name = :event_name) AND (:subject::text IS NULL OR q.subject = :subject)
       AND (:actor_id::uuid IS NULL OR q.actor_id = :actor_id)
       AND (:since::timestamptz IS NULL OR q.occurred_at >= :since) AND (:until::timestamptz IS NULL OR q.occurred_at < :until)
       AND (:place::timestamptz IS NULL OR (q.occurred_at, q.source_event_id) < (:place, :before))
     ORDER BY q.occurred_at DESC, q.source_event_id DESC LIMIT :page_size)
) u
ORDER BY u.occurred_at DESC, u.source_event_id DESC LIMIT :page_size;

-- name: list_anomalies(workspace_id, status, event_name, plan_id, before, page_size)
-- Anomalies, the last to be detected first.
SELECT anomaly_id, source_event_id, event_name, expected_plan_id, observed_plan_id, expected_snapshot, observed_snapshot, differs,
       correlation_id, occurred_at, detected_at, status, resolved_at, resolved_by, resolution
FROM datalane.integrity_anomalies
WHERE workspace_id = :workspace_id AND (:status::text IS NULL OR status = :status)
  AND (:event_name::text IS NULL OR event_name = :event_name)
  AND (:plan_id::text IS NULL OR expected_plan_id = :plan_id OR observed_plan_id = :plan_id)
  AND (:before::uuid IS NULL OR anomaly_id < :before)
ORDER BY anomaly_id DESC LIMIT :page_size;

-- name: get_anomaly(workspace_id, anomaly_id)^
-- One anomaly.
SELECT anomaly_id, source_event_id, event_name, expected_plan_id, observed_plan_id, expected_snapshot, observed_snapshot, differs,
       correlation_id, occurred_at, detected_at, status, resolved_at, resolved_by, resolution
FROM datalane.integrity_anomalies WHERE workspace_id = :workspace_id AND anomaly_id = :anomaly_id;

-- name: resolve_anomaly(anomaly_id, resolved_by, reason, now)$
-- Whether it was open.
SELECT datalane.resolve_integrity_anomaly(:anomaly_id::uuid, :resolved_by::text, :reason::text, :now::timestamptz);
