-- name: count_exported(workspace_id, since, until)$
-- How many events a range has.
SELECT count(*) FROM datalane.analytics_events
WHERE workspace_id = :workspace_id AND (:since::timestamptz IS NULL OR occurred_at >= :since)
  AND (:until::timestamptz IS NULL OR occurred_at < :until);

-- name: read_exported(workspace_id, since, until, place, behind, most)
-- Events behind one, in the order in which they happened; what is JSON is text.
SELECT source_event_id, event_name, event_version, occurred_at, received_at, subject, actor_id::text AS actor_id, correlation_id, plan_id,
       entitlement_snapshot::text AS entitlement_snapshot, observed_snapshot::text AS observed_snapshot, payload::text AS payload
FROM datalane.analytics_events
WHERE workspace_id = :workspace_id AND (:since::timestamptz IS NULL OR occurred_at >= :since)
  AND (:until::timestamptz IS NULL OR occurred_at < :until) AND (:place::timestamptz IS NULL OR occurred_at >= :place)
  AND (:place::timestamptz IS NULL OR (occurred_at, source_event_id) > (:place, :behind::text))
ORDER BY occurred_at, source_event_id LIMIT :most;
