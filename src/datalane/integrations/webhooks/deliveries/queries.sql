-- name: add_delivery(workspace_id, delivery_id, endpoint_id, event_id, event_type, subject_id, message_id, body, once_key, correlation_id, causation_depth, now)!
-- A delivery that somebody asks for, unless the same cause has one.
INSERT INTO datalane.webhook_deliveries (workspace_id, delivery_id, endpoint_id, event_id, event_type, subject_id, message_id, body,
                                         once_key, status, created_at, updated_at, correlation_id, causation_depth)
VALUES (:workspace_id, :delivery_id, :endpoint_id, :event_id, :event_type, :subject_id, :message_id, :body, :once_key, 'pending',
        :now, :now, :correlation_id, :causation_depth)
ON CONFLICT (workspace_id, endpoint_id, once_key) DO NOTHING;

-- name: find_delivery(workspace_id, endpoint_id, once_key)$
-- The delivery that a cause has.
SELECT delivery_id FROM datalane.webhook_deliveries
WHERE workspace_id = :workspace_id AND endpoint_id = :endpoint_id AND once_key = :once_key;

-- name: get_target(workspace_id, endpoint_id)^
-- What a delivery needs to know of its endpoint.
SELECT endpoint_id, ordered, status FROM datalane.webhook_endpoints
WHERE workspace_id = :workspace_id AND endpoint_id = :endpoint_id AND status <> 'removed';

-- name: get_delivery(workspace_id, delivery_id)^
-- One delivery.
SELECT delivery_id, endpoint_id, event_id, event_type, subject_id, message_id, status, held, attempt_count, failure_count,
       next_attempt_at, last_error_class, parent_delivery_id, created_at, updated_at, ended_at, correlation_id, causation_depth, body
FROM datalane.webhook_deliveries WHERE workspace_id = :workspace_id AND delivery_id = :delivery_id;

-- name: list_deliveries(workspace_id, endpoint_id, status, event_type, event_id, before, page_size)
-- Deliveries, the newest first: their ids are in the order of time.
SELECT delivery_id, endpoint_id, event_id, event_type, subject_id, message_id, status, held, attempt_count, failure_count,
       next_attempt_at, last_error_class, parent_delivery_id, created_at, updated_at, ended_at, correlation_id
FROM datalane.webhook_deliveries
WHERE workspace_id = :workspace_id AND (:before::uuid IS NULL OR delivery_id < :before)
  AND (:endpoint_id::uuid IS NULL OR endpoint_id = :endpoint_id)
  AND (:status::text IS NULL OR status = :status)
  AND (:event_type::text IS NULL OR event_type = :event_type)
  AND (:event_id::uuid IS NULL OR event_id = :event_id)
ORDER BY delivery_id DESC LIMIT :page_size;

-- name: list_attempts(workspace_id, delivery_id)
-- The attempts of a delivery, the first one first.
SELECT attempt, began_at, ended_at, outcome, status_code, latency_ms, response_excerpt, error_class
FROM datalane.webhook_attempts WHERE workspace_id = :workspace_id AND delivery_id = :delivery_id ORDER BY attempt;

-- name: get_standing(workspace_id, delivery_ids)
-- How deliveries stand, with their endpoints.
SELECT d.delivery_id, d.status, e.status AS endpoint_status FROM datalane.webhook_deliveries d
JOIN datalane.webhook_endpoints e ON e.workspace_id = d.workspace_id AND e.endpoint_id = d.endpoint_id
WHERE d.workspace_id = :workspace_id AND d.delivery_id = ANY (:delivery_ids::uuid[]);

-- name: count_replayable(workspace_id, endpoint_id, status, event_type, since, until)$
-- Deliveries that ended so, of endpoints that are there, and were not replayed.
SELECT count(*) FROM datalane.webhook_deliveries d
JOIN datalane.webhook_endpoints e ON e.workspace_id = d.workspace_id AND e.endpoint_id = d.endpoint_id AND e.status <> 'removed'
WHERE d.workspace_id = :workspace_id AND d.status = :status
  AND (:endpoint_id::uuid IS NULL OR d.endpoint_id = :endpoint_id)
  AND (:event_type::text IS NULL OR d.event_type = :event_type)
  AND (:since::timestamptz IS NULL OR d.created_at >= :since)
  AND (:until::timestamptz IS NULL OR d.created_at < :until)
  AND NOT EXISTS (SELECT FROM datalane.webhook_deliveries c
                  WHERE c.workspace_id = :workspace_id AND c.parent_delivery_id = d.delivery_id);

-- name: find_replayable(workspace_id, endpoint_id, status, event_type, since, until, most)
-- The first of them, in the order in which their events were published; nobody else takes them meanwhile. Who took them
-- since this statement began, and is through, is not seen by it: add_replays looks again.
SELECT d.delivery_id FROM datalane.webhook_deliveries d
JOIN datalane.webhook_endpoints e ON e.workspace_id = d.workspace_id AND e.endpoint_id = d.endpoint_id AND e.status <> 'removed'
WHERE d.workspace_id = :workspace_id AND d.status = :status
  AND (:endpoint_id::uuid IS NULL OR d.endpoint_id = :endpoint_id)
  AND (:event_type::text IS NULL OR d.event_type = :event_type)
  AND (:since::timestamptz IS NULL OR d.created_at >= :since)
  AND (:until::timestamptz IS NULL OR d.created_at < :until)
  AND NOT EXISTS (SELECT FROM datalane.webhook_deliveries c
                  WHERE c.workspace_id = :workspace_id AND c.parent_delivery_id = d.delivery_id)
ORDER BY coalesce(d.event_id, d.delivery_id), d.delivery_id LIMIT :most FOR UPDATE OF d SKIP LOCKED;

-- name: add_replays(workspace_id, parent_ids, delivery_ids, again, correlation_id, now)
-- New deliveries of the same messages; answers them in the order given. Without `again`, of those that have none yet.
WITH made AS (
    INSERT INTO datalane.webhook_deliveries (workspace_id, delivery_id, endpoint_id, event_id, event_type, subject_id, message_id,
        body, once_key, parent_delivery_id, status, created_at, updated_at, correlation_id, causation_depth)
    SELECT :workspace_id, i.delivery_id, d.endpoint_id, d.event_id, d.event_type, d.subject_id, d.message_id, d.body,
           'replay:' || i.delivery_id, d.delivery_id, 'pending', :now, :now, :correlation_id, d.causation_depth
    FROM unnest(:parent_ids::uuid[], :delivery_ids::uuid[]) AS i (parent_id, delivery_id)
    JOIN datalane.webhook_deliveries d ON d.workspace_id = :workspace_id AND d.delivery_id = i.parent_id
    WHERE :again::boolean OR NOT EXISTS (SELECT FROM datalane.webhook_deliveries c
                                         WHERE c.workspace_id = :workspace_id AND c.parent_delivery_id = d.delivery_id)
    RETURNING delivery_id, endpoint_id, subject_id
)
SELECT made.delivery_id, made.endpoint_id, made.subject_id, e.ordered FROM made
JOIN unnest(:delivery_ids::uuid[]) WITH ORDINALITY AS i (delivery_id, place) ON i.delivery_id = made.delivery_id
JOIN datalane.webhook_endpoints e ON e.workspace_id = :workspace_id AND e.endpoint_id = made.endpoint_id
ORDER BY i.place;
