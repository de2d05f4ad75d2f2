-- name: read_endpoints(workspace_id, endpoint_ids, now)
-- Endpoints with what they are signed with, the current secret first. They are not recovered or removed meanwhile.
SELECT e.endpoint_id, e.url, e.ordered, e.status, e.failing_since, e.failures_in_a_row, s.sealed
FROM datalane.webhook_endpoints e
LEFT JOIN datalane.webhook_secrets s ON s.workspace_id = e.workspace_id AND s.endpoint_id = e.endpoint_id
    AND (s.ends_at IS NULL OR s.ends_at > :now)
WHERE e.workspace_id = :workspace_id AND e.endpoint_id = ANY (:endpoint_ids::uuid[]) AND e.status <> 'removed'
ORDER BY e.endpoint_id, s.ends_at DESC NULLS FIRST FOR KEY SHARE OF e;

-- name: read_deliveries(workspace_id, delivery_ids, endpoint_ids, once_keys)
-- Deliveries by their id, or by what caused them.
SELECT delivery_id, endpoint_id, once_key, event_id, subject_id, message_id, body, status, held, attempt_count, failure_count,
       next_attempt_at, correlation_id, causation_depth
FROM datalane.webhook_deliveries WHERE workspace_id = :workspace_id AND delivery_id = ANY (:delivery_ids::uuid[])
UNION ALL
SELECT d.delivery_id, d.endpoint_id, d.once_key, d.event_id, d.subject_id, d.message_id, d.body, d.status, d.held,
       d.attempt_count, d.failure_count, d.next_attempt_at, d.correlation_id, d.causation_depth
FROM unnest(:endpoint_ids::uuid[], :once_keys::text[]) AS k (endpoint_id, once_key)
JOIN datalane.webhook_deliveries d ON d.workspace_id = :workspace_id AND d.endpoint_id = k.endpoint_id AND d.once_key = k.once_key;

-- name: under_way(workspace_id, delivery_ids, since)
-- Those of the deliveries of which an attempt that began after `since` has no outcome yet.
SELECT DISTINCT delivery_id FROM datalane.webhook_attempts
WHERE workspace_id = :workspace_id AND delivery_id = ANY (:delivery_ids::uuid[]) AND outcome IS NULL AND began_at > :since;

-- name: read_events(workspace_id, event_ids)
-- Events that are to be delivered.
SELECT event_id, event_type, version, subject_id, occurred_at, correlation_id, causation_depth, payload FROM datalane.events
WHERE workspace_id = :workspace_id AND event_id = ANY (:event_ids::uuid[]);

-- name: first_held(workspace_id, endpoint_ids)
-- The first delivery of each subject that waits for its endpoint's recovery.
SELECT DISTINCT ON (endpoint_id, subject_id) endpoint_id, subject_id, coalesce(event_id, delivery_id) AS place
FROM datalane.webhook_deliveries
WHERE workspace_id = :workspace_id AND endpoint_id = ANY (:endpoint_ids::uuid[]) AND held
ORDER BY endpoint_id, subject_id, coalesce(event_id, delivery_id);

-- name: add_deliveries(workspace_id, delivery_ids, endpoint_ids, event_ids, event_types, subject_ids, message_ids, bodies, once_keys, correlation_ids, causation_depths, begins, helds, next_attempt_ats, now)
-- New deliveries, and the first attempt of those that begin at once. Those whose cause has one already are left out.
WITH made AS (
    INSERT INTO datalane.webhook_deliveries (workspace_id, delivery_id, endpoint_id, event_id, event_type, subject_id, message_id,
        body, once_key, status, held, attempt_count, next_attempt_at, created_at, updated_at, correlation_id, causation_depth)
    SELECT :workspace_id, i.delivery_id, i.endpoint_id, i.event_id, i.event_type, i.subject_id, i.message_id, i.body, i.once_key,
           'pending', i.held, i.begins::integer, i.next_attempt_at, :now, :now, i.correlation_id, i.causation_depth
    FROM unnest(:delivery_ids::uuid[], :endpoint_ids::uuid[], :event_ids::uuid[], :event_types::text[], :subject_ids::text[],
                :message_ids::text[], :bodies::text[], :once_keys::text[], :correlation_ids::text[], :causation_depths::integer[],
                :begins::boolean[], :helds::boolean[], :next_attempt_ats::timestamptz[])
        AS i (delivery_id, endpoint_id, event_id, event_type, subject_id, message_id, body, once_key, correlation_id,
              causation_depth, begins, held, next_attempt_at)
    ON CONFLICT (workspace_id, endpoint_id, once_key) DO NOTHING
    RETURNING delivery_id, attempt_count
), begun AS (
    INSERT INTO datalane.webhook_attempts (workspace_id, delivery_id, attempt, began_at)
    SELECT :workspace_id, made.delivery_id, made.attempt_count, :now FROM made WHERE made.attempt_count > 0
)
SELECT delivery_id FROM made;

-- name: begin_attempts(workspace_id, delivery_ids, seen_counts, now)
-- One more attempt of deliveries that nobody has begun one of since. One that has no outcome has lost its worker.
WITH begun AS (
    UPDATE datalane.webhook_deliveries d SET attempt_count = d.attempt_count + 1, next_attempt_at = NULL, updated_at = :now
    FROM unnest(:delivery_ids::uuid[], :seen_counts::integer[]) AS i (delivery_id, seen)
    WHERE d.workspace_id = :workspace_id AND d.delivery_id = i.delivery_id AND d.attempt_count = i.seen
      AND d.status IN ('pending', 'failed')
    RETURNING d.delivery_id, d.attempt_count
), lost AS (
    UPDATE datalane.webhook_attempts a SET outcome = 'lost', error_class = 'worker_lost', ended_at = :now
    FROM begun WHERE a.workspace_id = :workspace_id AND a.delivery_id = begun.delivery_id AND a.outcome IS NULL
), noted AS (
    INSERT INTO datalane.webhook_attempts (workspace_id, delivery_id, attempt, began_at)
    SELECT :workspace_id, begun.delivery_id, begun.attempt_count, :now FROM begun
)
SELECT delivery_id FROM begun;

-- name: hold_deliveries(workspace_id, delivery_ids, now)!
-- Deliveries that wait for their endpoint's recovery from now on.
UPDATE datalane.webhook_deliveries SET held = true, next_attempt_at = NULL, updated_at = :now
WHERE workspace_id = :workspace_id AND delivery_id = ANY (:delivery_ids::uuid[]) AND status IN ('pending', 'failed') AND NOT held;

-- name: end_attempts(workspace_id, delivery_ids, attempts, outcomes, status_codes, latencies, excerpts, error_classes, counts, statuses, helds, next_attempt_ats, disableds, now)
-- What came of attempts, and of those deliveries of which they are still the last and that have not been ended by something else
-- meanwhile. What was released since is not held again while its endpoint is enabled. A failure that does not count is none of
-- the endpoint's. Answers the deliveries that were written.
WITH given AS MATERIALIZED (
    SELECT i.delivery_id, i.attempt, i.outcome, i.status_code, i.latency, i.excerpt, i.error_class, i.counts, i.status, i.held,
           i.next_attempt_at, i.disabled
    FROM unnest(:delivery_ids::uuid[], :attempts::integer[], :outcomes::text[], :status_codes::integer[],
                :latencies::double precision[], :excerpts::text[], :error_classes::text[], :counts::boolean[], :statuses::text[],
                :helds::boolean[], :next_attempt_ats::timestamptz[], :disableds::boolean[])
        AS i (delivery_id, attempt, outcome, status_code, latency, excerpt, error_class, counts, status, held, next_attempt_at,
              disabled)
), ended AS (
    UPDATE datalane.webhook_deliveries d
    SET status = g.status, held = g.held AND (d.held OR g.disabled),
        failure_count = d.failure_count + (g.outcome = 'failed' AND g.counts)::integer,
        next_attempt_at = g.next_attempt_at, last_error_class = g.error_class, updated_at = :now,
        ended_at = CASE WHEN g.status IN ('delivered', 'dead_letter') THEN :now::timestamptz END
    FROM given g
    WHERE d.workspace_id = :workspace_id AND d.delivery_id = g.delivery_id AND d.attempt_count = g.attempt
      AND d.status IN ('pending', 'failed')
    RETURNING d.delivery_id
), noted AS (
    UPDATE datalane.webhook_attempts a
    SET outcome = g.outcome, ended_at = :now, status_code = g.status_code, latency_ms = g.latency, response_excerpt = g.excerpt,
        error_class = g.error_class
    FROM given g
    WHERE a.workspace_id = :workspace_id AND a.delivery_id = g.delivery_id AND a.attempt = g.attempt AND a.outcome IS NULL
)
SELECT delivery_id FROM ended;

-- name: note_success(workspace_id, endpoint_id, now)!
-- An endpoint took a delivery; written when that says something new, or once a minute.
UPDATE datalane.webhook_endpoints SET last_success_at = :now, failing_since = NULL, failures_in_a_row = 0
WHERE workspace_id = :workspace_id AND endpoint_id = :endpoint_id
  AND (failures_in_a_row > 0 OR last_success_at IS NULL OR last_success_at < :now::timestamptz - interval '1 minute');

-- name: note_failures(workspace_id, endpoint_id, failures, now)^
-- An endpoint failed so often in a row again; since when, and how often by now.
UPDATE datalane.webhook_endpoints
SET failing_since = coalesce(failing_since, :now), failures_in_a_row = failures_in_a_row + :failures::integer
WHERE workspace_id = :workspace_id AND endpoint_id = :endpoint_id
RETURNING status, failing_since, failures_in_a_row;

-- name: bury_delivery(workspace_id, delivery_id, endpoint_id, once_key, error_class, now)!
-- A delivery whose job is no more, unless it is held: then it waits for a recovery, which makes another. An attempt of it that has
-- no outcome gets none any more.
WITH buried AS (
    UPDATE datalane.webhook_deliveries
    SET status = 'dead_letter', held = false, next_attempt_at = NULL, last_error_class = :error_class, ended_at = :now, updated_at = :now
    WHERE workspace_id = :workspace_id AND status IN ('pending', 'failed') AND NOT held
      AND (delivery_id = :delivery_id OR (endpoint_id = :endpoint_id AND once_key = :once_key))
    RETURNING delivery_id
)
UPDATE datalane.webhook_attempts a SET outcome = 'lost', error_class = 'worker_lost', ended_at = :now
FROM buried WHERE a.workspace_id = :workspace_id AND a.delivery_id = buried.delivery_id AND a.outcome IS NULL;
