-- name: add_connector(workspace_id, connector_id, name, kind, base_url, account_label, scopes, auth, metadata, names, sealed, expires_at, now, actor_id)!
-- A new connector, unless one that is not revoked has the name.
INSERT INTO datalane.connectors (workspace_id, connector_id, name, kind, base_url, account_label, scopes, auth, metadata, status,
                                 credential_version, credential_names, sealed_credentials, expires_at, rotated_at, created_at,
                                 updated_at, created_by_actor_id, updated_by_actor_id)
VALUES (:workspace_id, :connector_id, :name, :kind, :base_url, :account_label, :scopes::text[], :auth::jsonb, :metadata::jsonb,
        'connected', 1, :names::text[], :sealed, :expires_at, :now, :now, :now, :actor_id, :actor_id)
ON CONFLICT (workspace_id, name) WHERE status <> 'revoked' DO NOTHING;

-- name: get_connector(workspace_id, connector_id)^
-- One connector, without what is sealed.
SELECT connector_id, name, kind, base_url, auth, account_label, scopes, metadata, status, credential_version, credential_names,
       expires_at, rotated_at, outcome, outcome_of, observed_at, detail, created_at, updated_at, revoked_at,
       created_by_actor_id, updated_by_actor_id
FROM datalane.connectors WHERE workspace_id = :workspace_id AND connector_id = :connector_id;

-- name: hold_connector(workspace_id, connector_id)$
-- The connector's id, if there is one; nobody else changes it until the transaction ends.
SELECT connector_id FROM datalane.connectors
WHERE workspace_id = :workspace_id AND connector_id = :connector_id FOR NO KEY UPDATE;

-- name: hold_connected(workspace_id, connector_ids)
-- Those that are there, with their states; nobody else changes them until the transaction ends, and several may hold them.
SELECT connector_id, status FROM datalane.connectors
WHERE workspace_id = :workspace_id AND connector_id = ANY (:connector_ids::uuid[]) ORDER BY connector_id FOR SHARE;

-- name: list_connectors(workspace_id, status, kind, before, page_size)
-- Connectors, the newest first: their ids are in the order of time.
SELECT connector_id, name, kind, base_url, auth, account_label, scopes, metadata, status, credential_version, credential_names,
       expires_at, rotated_at, outcome, outcome_of, observed_at, detail, created_at, updated_at, revoked_at,
       created_by_actor_id, updated_by_actor_id
FROM datalane.connectors
WHERE workspace_id = :workspace_id AND (:status::text IS NULL OR status = :status) AND (:kind::text IS NULL OR kind = :kind)
  AND (:before::uuid IS NULL OR connector_id < :before)
ORDER BY connector_id DESC LIMIT :page_size;

-- name: get_sealed(workspace_id, connector_id)^
-- What is sealed of a connector, and in which version.
SELECT status, credential_version, sealed_credentials FROM datalane.connectors
WHERE workspace_id = :workspace_id AND connector_id = :connector_id;

-- name: rotate_credentials(workspace_id, connector_id, seen, names, sealed, expires_at, now, actor_id)!
-- Other credentials, where the version that was seen is there still and the connector is not revoked.
UPDATE datalane.connectors
SET credential_version = credential_version + 1, credential_names = :names::text[], sealed_credentials = :sealed,
    expires_at = :expires_at, rotated_at = :now, updated_at = :now, updated_by_actor_id = :actor_id
WHERE workspace_id = :workspace_id AND connector_id = :connector_id AND credential_version = :seen AND status <> 'revoked';

-- name: move_connector(workspace_id, connector_id, sources, target, now, actor_id)!
-- Another state of a connector that is in one of `sources`. Its credentials go when it is revoked.
UPDATE datalane.connectors
SET status = :target, updated_at = :now, updated_by_actor_id = :actor_id,
    sealed_credentials = CASE WHEN :target::text = 'revoked' THEN NULL ELSE sealed_credentials END,
    credential_names = CASE WHEN :target::text = 'revoked' THEN '{}' ELSE credential_names END,
    revoked_at = CASE WHEN :target::text = 'revoked' THEN :now::timestamptz END
WHERE workspace_id = :workspace_id AND connector_id = :connector_id AND status = ANY (:sources::text[]);

-- name: set_health(workspace_id, connector_id, outcome, outcome_of, observed_at, detail)!
-- What the newest report said.
UPDATE datalane.connectors
SET outcome = :outcome, outcome_of = :outcome_of, observed_at = :observed_at, detail = :detail
WHERE workspace_id = :workspace_id AND connector_id = :connector_id;

-- name: add_history(workspace_id, history_id, connector_id, what, outcome, outcome_of, observed_at, counted, detail, now, actor_id, correlation_id)!
-- One line of a connector's history, with the state that it is in now.
INSERT INTO datalane.connector_history (workspace_id, history_id, connector_id, what, status, credential_version, expires_at,
                                        outcome, outcome_of, observed_at, counted, detail, recorded_at, actor_id, correlation_id)
SELECT c.workspace_id, :history_id, c.connector_id, :what, c.status, c.credential_version, c.expires_at, :outcome, :outcome_of,
       :observed_at, :counted, :detail, :now, :actor_id, :correlation_id
FROM datalane.connectors c WHERE c.workspace_id = :workspace_id AND c.connector_id = :connector_id;

-- name: list_history(workspace_id, connector_id, before, page_size)
-- The history of connectors, or of one, the newest first.
SELECT history_id, connector_id, what, status, credential_version, expires_at, outcome, outcome_of, observed_at, counted, detail,
       recorded_at, actor_id, correlation_id
FROM datalane.connector_history
WHERE workspace_id = :workspace_id AND (:connector_id::uuid IS NULL OR connector_id = :connector_id)
  AND (:before::uuid IS NULL OR history_id < :before)
ORDER BY history_id DESC LIMIT :page_size;
