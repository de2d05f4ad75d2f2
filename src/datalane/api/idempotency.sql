-- name: recall(workspace_id, actor_id, route, key, kept, now)^
-- Hold the key until the end of the transaction, and see what was answered to it before. `held` is false when another
-- request holds it.
SELECT pg_try_advisory_xact_lock(hashtextextended(
           concat_ws('/', :workspace_id::uuid, :actor_id::uuid, :route::text, :key::text), 0)) AS held,
       a.request_hash, a.status, a.body
FROM (SELECT) AS one
LEFT JOIN datalane.idempotency_keys a
    ON a.workspace_id = :workspace_id AND a.actor_id = :actor_id AND a.route = :route AND a.idempotency_key = :key
    AND a.created_at >= coalesce(:now::timestamptz, clock_timestamp()) - :kept::interval;

-- name: keep(workspace_id, actor_id, route, key, request_hash, status, body, kept, now)$
-- Keep an answer, in place of one whose window has passed. Null when another request kept one in the meantime.
INSERT INTO datalane.idempotency_keys AS a
    (workspace_id, actor_id, route, idempotency_key, request_hash, status, body, created_at)
VALUES (:workspace_id, :actor_id, :route, :key, :request_hash, :status, :body, coalesce(:now::timestamptz, clock_timestamp()))
ON CONFLICT (workspace_id, actor_id, route, idempotency_key) DO UPDATE
    SET request_hash = EXCLUDED.request_hash, status = EXCLUDED.status, body = EXCLUDED.body, created_at = EXCLUDED.created_at
    WHERE a.created_at < EXCLUDED.created_at - :kept::interval
RETURNING status;
