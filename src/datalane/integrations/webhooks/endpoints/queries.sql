-- name: add_endpoint(workspace_id, endpoint_id, url, description, signing, ordered, connector_id, now, actor_id)!
-- A new endpoint.
INSERT INTO datalane.webhook_endpoints (workspace_id, endpoint_id, url, description, signing, ordered, connector_id, status,
                                        created_at, updated_at, created_by_actor_id)
VALUES (:workspace_id, :endpoint_id, :url, :description, :signing, :ordered, :connector_id, 'enabled', :now, :now, :actor_id);

-- name: count_endpoints(workspace_id)$
-- Endpoints that there are.
SELECT count(*) FROM datalane.webhook_endpoints WHERE workspace_id = :workspace_id AND status <> 'removed';

-- name: change_endpoint(workspace_id, endpoint_id, version, url, description, depends, connector_id, now)!
-- What is told of an endpoint, by somebody who saw its version.
UPDATE datalane.webhook_endpoints
SET url = coalesce(:url, url), description = coalesce(:description, description), version = version + 1, updated_at = :now,
    connector_id = CASE WHEN :depends::boolean THEN :connector_id::uuid ELSE connector_id END
WHERE workspace_id = :workspace_id AND endpoint_id = :endpoint_id AND version = :version AND status <> 'removed';

-- name: get_endpoint(workspace_id, endpoint_id, now)^
-- One endpoint.
SELECT e.endpoint_id, e.url, e.description, e.signing, e.ordered, e.connector_id, e.status, e.status_reason, e.failing_since,
       e.last_success_at, e.version, e.created_at, e.updated_at,
       ARRAY(SELECT t.event_type FROM datalane.webhook_endpoint_types t
             WHERE t.workspace_id = :workspace_id AND t.endpoint_id = e.endpoint_id ORDER BY t.event_type) AS event_types,
       ARRAY(SELECT s.public_key FROM datalane.webhook_secrets s
             WHERE s.workspace_id = :workspace_id AND s.endpoint_id = e.endpoint_id AND s.public_key IS NOT NULL
               AND (s.ends_at IS NULL OR s.ends_at > :now) ORDER BY s.ends_at DESC NULLS FIRST) AS public_keys
FROM datalane.webhook_endpoints e
WHERE e.workspace_id = :workspace_id AND e.endpoint_id = :endpoint_id AND e.status <> 'removed';

-- name: list_endpoints(workspace_id, before, now, page_size)
-- Endpoints, the newest first: their ids are in the order of time.
SELECT e.endpoint_id, e.url, e.description, e.signing, e.ordered, e.connector_id, e.status, e.status_reason, e.failing_since,
       e.last_success_at, e.version, e.created_at, e.updated_at,
       ARRAY(SELECT t.event_type FROM datalane.webhook_endpoint_types t
             WHERE t.workspace_id = :workspace_id AND t.endpoint_id = e.endpoint_id ORDER BY t.event_type) AS event_types,
       ARRAY(SELECT s.public_key FROM datalane.webhook_secrets s
             WHERE s.workspace_id = :workspace_id AND s.endpoint_id = e.endpoint_id AND s.public_key IS NOT NULL
               AND (s.ends_at IS NULL OR s.ends_at > :now) ORDER BY s.ends_at DESC NULLS FIRST) AS public_keys
FROM datalane.webhook_endpoints e
WHERE e.workspace_id = :workspace_id AND e.status <> 'removed' AND (:before::uuid IS NULL OR e.endpoint_id < :before)
ORDER BY e.endpoint_id DESC LIMIT :page_size;

-- name: hold_endpoint(workspace_id, endpoint_id)^
-- One endpoint, which nobody changes or begins a delivery to until the transaction ends.
SELECT endpoint_id, url, signing, ordered, connector_id, status, status_reason FROM datalane.webhook_endpoints
WHERE workspace_id = :workspace_id AND endpoint_id = :endpoint_id AND status <> 'removed' FOR UPDATE;

-- name: move_endpoint(workspace_id, endpoint_id, sources, target, reason, now)!
-- Another state of an endpoint that is in one of `sources`; an enabled one begins without failures.
UPDATE datalane.webhook_endpoints
SET status = :target, status_reason = :reason, version = version + 1, updated_at = :now,
    failing_since = CASE WHEN :target = 'enabled' THEN NULL ELSE failing_since END,
    failures_in_a_row = CASE WHEN :target = 'enabled' THEN 0 ELSE failures_in_a_row END
WHERE workspace_id = :workspace_id AND endpoint_id = :endpoint_id AND status = ANY (:sources::text[]);

-- name: endpoints_of_connector(workspace_id, connector_id)
-- Enabled endpoints that depend on a connector; nobody switches them until the transaction ends.
SELECT endpoint_id FROM datalane.webhook_endpoints
WHERE workspace_id = :workspace_id AND connector_id = :connector_id AND status = 'enabled' ORDER BY endpoint_id FOR UPDATE;

-- name: add_types(workspace_id, endpoint_id, event_types)!
-- The types of events that an endpoint takes.
INSERT INTO datalane.webhook_endpoint_types (workspace_id, endpoint_id, event_type)
SELECT :workspace_id, :endpoint_id, t.event_type FROM unnest(:event_types::text[]) AS t (event_type);

-- name: remove_types(workspace_id, endpoint_id)!
-- Those it took.
DELETE FROM datalane.webhook_endpoint_types WHERE workspace_id = :workspace_id AND endpoint_id = :endpoint_id;

-- name: add_subscriptions(workspace_id, endpoint_id, event_types, kind, ordered, now)!
-- From now on an event of these types leaves a job for the endpoint.
INSERT INTO datalane.subscriptions (workspace_id, event_type, kind, args, ordered, line, created_at)
SELECT :workspace_id, t.event_type, :kind, jsonb_build_object('endpoint_id', :endpoint_id::uuid), :ordered, :endpoint_id, :now
FROM unnest(:event_types::text[]) AS t (event_type);

-- name: remove_subscriptions(workspace_id, endpoint_id, kind)!
-- From now on events leave no job for the endpoint.
DELETE FROM datalane.subscriptions WHERE workspace_id = :workspace_id AND line = :endpoint_id AND kind = :kind;

-- name: add_secret(workspace_id, endpoint_id, secret_id, sealed, public_key, now)!
-- The secret that signs from now on.
INSERT INTO datalane.webhook_secrets (workspace_id, endpoint_id, secret_id, sealed, public_key, created_at)
VALUES (:workspace_id, :endpoint_id, :secret_id, :sealed, :public_key, :now);

-- name: end_secret(workspace_id, endpoint_id, ends_at)!
-- The secret that signed until now goes on until `ends_at`.
UPDATE datalane.webhook_secrets SET ends_at = :ends_at
WHERE workspace_id = :workspace_id AND endpoint_id = :endpoint_id AND ends_at IS NULL;

-- name: drop_ended_secrets(workspace_id, endpoint_id)!
-- Those that were to end, whether or not their time has come: at most two sign.
DELETE FROM datalane.webhook_secrets WHERE workspace_id = :workspace_id AND endpoint_id = :endpoint_id AND ends_at IS NOT NULL;

-- name: drop_secrets(workspace_id, endpoint_id)!
-- All secrets of an endpoint.
DELETE FROM datalane.webhook_secrets WHERE workspace_id = :workspace_id AND endpoint_id = :endpoint_id;

-- name: bury_deliveries(workspace_id, endpoint_id, now)!
-- What was still to be delivered to an endpoint that is no more.
UPDATE datalane.webhook_deliveries
SET status = 'dead_letter', held = false, ended_at = :now, updated_at = :now, next_attempt_at = NULL,
    last_error_class = 'endpoint_removed'
WHERE workspace_id = :workspace_id AND endpoint_id = :endpoint_id AND status IN ('pending', 'failed');

-- name: count_held(workspace_id, endpoint_id)$
-- Deliveries that wait for the endpoint's recovery.
SELECT count(*) FROM datalane.webhook_deliveries WHERE workspace_id = :workspace_id AND endpoint_id = :endpoint_id AND held;

-- name: release_held(workspace_id, endpoint_id, most, now)
-- The first of them, in the order in which their events were published; they wait no longer.
WITH released AS (
    UPDATE datalane.webhook_deliveries d SET held = false, updated_at = :now
    FROM (SELECT delivery_id FROM datalane.webhook_deliveries
          WHERE workspace_id = :workspace_id AND endpoint_id = :endpoint_id AND held
          ORDER BY coalesce(event_id, delivery_id), delivery_id LIMIT :most) AS first
    WHERE d.workspace_id = :workspace_id AND d.delivery_id = first.delivery_id AND d.held
    RETURNING d.delivery_id, d.event_id, d.subject_id
)
SELECT delivery_id, subject_id FROM released ORDER BY coalesce(event_id, delivery_id), delivery_id;
