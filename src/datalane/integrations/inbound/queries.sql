-- name: put_inbound(workspace_id, connector_id, token_digest, preset, rule, secret_names, now, actor_id)!
-- A connector's webhooks are taken from now on, as this says. Without a digest the URL stays.
INSERT INTO datalane.inbound_webhooks AS i (workspace_id, connector_id, token_digest, preset, rule, secret_names, status, created_at,
                                            updated_at, updated_by_actor_id)
VALUES (:workspace_id, :connector_id, :token_digest, :preset, :rule::jsonb, :secret_names::text[], 'open', :now, :now, :actor_id)
ON CONFLICT (workspace_id, connector_id) DO UPDATE
SET token_digest = EXCLUDED.token_digest, preset = EXCLUDED.preset, rule = EXCLUDED.rule, secret_names = EXCLUDED.secret_names,
    status = 'open', updated_at = EXCLUDED.updated_at, updated_by_actor_id = EXCLUDED.updated_by_actor_id;

-- name: get_digest(workspace_id, connector_id)$
-- The digest of the secret in the URL.
SELECT token_digest FROM datalane.inbound_webhooks WHERE workspace_id = :workspace_id AND connector_id = :connector_id;

-- name: get_inbound(workspace_id, connector_id)^
-- How one connector's webhooks are checked.
SELECT connector_id, preset, rule, secret_names, status, created_at, updated_at, updated_by_actor_id
FROM datalane.inbound_webhooks WHERE workspace_id = :workspace_id AND connector_id = :connector_id;

-- name: find_receiver(workspace_id, connector_id, token_digest)^
-- How a delivery to this URL is checked; nothing where none is taken.
SELECT i.rule, i.secret_names, c.kind
FROM datalane.inbound_webhooks i
JOIN datalane.connectors c ON c.workspace_id = :workspace_id AND c.connector_id = i.connector_id
WHERE i.workspace_id = :workspace_id AND i.connector_id = :connector_id AND i.token_digest = :token_digest
  AND i.status = 'open' AND c.status <> 'revoked';

-- name: list_inbound(workspace_id, before, page_size)
-- Whose webhooks are taken, or were; the newest connector first.
SELECT connector_id, preset, rule, secret_names, status, created_at, updated_at, updated_by_actor_id
FROM datalane.inbound_webhooks
WHERE workspace_id = :workspace_id AND (:before::uuid IS NULL OR connector_id < :before)
ORDER BY connector_id DESC LIMIT :page_size;

-- name: close_inbound(workspace_id, connector_id, now, actor_id)!
-- No webhooks of this connector are taken any more.
UPDATE datalane.inbound_webhooks SET status = 'closed', updated_at = :now, updated_by_actor_id = :actor_id
WHERE workspace_id = :workspace_id AND connector_id = :connector_id AND status = 'open';

-- name: remember(workspace_id, connector_id, signed_digest, delivery_id, forgotten, now)$
-- The signed bytes came; answers the delivery's id when they had not come since `forgotten`. Of two at once one is the first.
INSERT INTO datalane.inbound_seen AS s (workspace_id, connector_id, signed_digest, delivery_id, received_at)
VALUES (:workspace_id, :connector_id, :signed_digest, :delivery_id, :now)
ON CONFLICT (workspace_id, connector_id, signed_digest) DO UPDATE
SET delivery_id = EXCLUDED.delivery_id, received_at = EXCLUDED.received_at WHERE s.received_at < :forgotten
RETURNING delivery_id;

-- name: get_seen(workspace_id, connector_id, signed_digest)$
-- The delivery in which the signed bytes came.
SELECT delivery_id FROM datalane.inbound_seen
WHERE workspace_id = :workspace_id AND connector_id = :connector_id AND signed_digest = :signed_digest;

-- name: forget(workspace_id, connector_id, forgotten)!
-- Some of what came before `forgotten`.
DELETE FROM datalane.inbound_seen s USING (
    SELECT signed_digest FROM datalane.inbound_seen
    WHERE workspace_id = :workspace_id AND connector_id = :connector_id AND received_at < :forgotten
    ORDER BY received_at LIMIT 10 FOR UPDATE SKIP LOCKED) AS old
WHERE s.workspace_id = :workspace_id AND s.connector_id = :connector_id AND s.signed_digest = old.signed_digest;

-- name: hold_delivery(workspace_id, held_id, connector_id, delivery_id, like_delivery_id, payload, most, now)!
-- A delivery that waits for somebody's word; once for its id, and so many of a connector.
INSERT INTO datalane.inbound_held (workspace_id, held_id, connector_id, delivery_id, like_delivery_id, payload, status, received_at)
SELECT :workspace_id, :held_id, :connector_id, :delivery_id, :like_delivery_id, :payload::jsonb, 'held', :now
WHERE (SELECT count(*) FROM datalane.inbound_held
       WHERE workspace_id = :workspace_id AND connector_id = :connector_id AND status = 'held') < :most
ON CONFLICT (workspace_id, connector_id, delivery_id) WHERE status = 'held' DO NOTHING;

-- name: get_standing(workspace_id, connector_id, delivery_id)$
-- What became of a delivery of this id: it is held, was released, or neither.
SELECT min(status) FROM datalane.inbound_held
WHERE workspace_id = :workspace_id AND connector_id = :connector_id AND delivery_id = :delivery_id
  AND status IN ('held', 'released');

-- name: get_held(workspace_id, held_id)^
-- One delivery that is or was held.
SELECT held_id, connector_id, delivery_id, like_delivery_id, status, received_at, decided_at, decided_by_actor_id
FROM datalane.inbound_held WHERE workspace_id = :workspace_id AND held_id = :held_id;

-- name: get_held_payload(workspace_id, held_id)$
-- What would be published of a held delivery; nobody else decides on it until the transaction ends.
SELECT payload FROM datalane.inbound_held WHERE workspace_id = :workspace_id AND held_id = :held_id FOR UPDATE;

-- name: decide_held(workspace_id, held_id, sources, target, now, actor_id)!
-- Somebody's word on a held delivery; its body goes.
UPDATE datalane.inbound_held SET status = :target, payload = NULL, decided_at = :now, decided_by_actor_id = :actor_id
WHERE workspace_id = :workspace_id AND held_id = :held_id AND status = ANY (:sources::text[]);

-- name: list_held(workspace_id, status, before, page_size)
-- Deliveries that are or were held, the newest first.
SELECT held_id, connector_id, delivery_id, like_delivery_id, status, received_at, decided_at, decided_by_actor_id
FROM datalane.inbound_held
WHERE workspace_id = :workspace_id AND (:status::text IS NULL OR status = :status) AND (:before::uuid IS NULL OR held_id < :before)
ORDER BY held_id DESC LIMIT :page_size;
