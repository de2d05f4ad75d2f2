-- name: audit(action, resource_type, resource_id, before, after)$
-- Leave an audit record.
SELECT datalane.audit(:action::text, :resource_type::text, :resource_id::text, :before::jsonb, :after::jsonb);

-- name: list_records(workspace_id, action, actor_id, resource_type, resource_id, most)
-- A workspace's records, newest first.
SELECT audit_id, occurred_at, actor_id, action, resource_type, resource_id, correlation_id, before, after, details_erased
FROM datalane.audit_records
WHERE workspace_id = :workspace_id
  AND (:action::text IS NULL OR action = :action)
  AND (:actor_id::uuid IS NULL OR actor_id = :actor_id)
  AND (:resource_type::text IS NULL OR resource_type = :resource_type)
  AND (:resource_id::text IS NULL OR resource_id = :resource_id)
ORDER BY audit_id DESC LIMIT :most;

-- name: erase_details(audit_ids, reason)$
-- Erase the values of records.
SELECT datalane.erase_audit_details(:audit_ids::uuid[], :reason::text);

-- name: erase_person(person_id, mentions, reason)$
-- Erase the values of every record about a person.
SELECT datalane.erase_person_from_audit(:person_id::uuid, :mentions::text[], :reason::text);

-- name: list_seals(workspace_id, after, most)
-- Seals in order, from above number `after`.
SELECT seal_no, first_position, last_position, last_xid, last_audit_id, manifest, previous_hash, seal_hash, sealed_at
FROM datalane.audit_seals
WHERE workspace_id = :workspace_id AND seal_no > :after
ORDER BY seal_no LIMIT :most;

-- name: list_rows(workspace_id, after_xid, after_id, until_xid, until_id, most)
-- Rows in the order of their places, from above one place up to another; with the text of their details.
SELECT a.audit_id, a.occurred_at, a.actor_id, a.action, a.resource_type, a.resource_id, a.correlation_id,
       a.details_digest, a.recorded_xid, d.salt, d.before::text AS before, d.after::text AS after
FROM datalane.audit_log a
LEFT JOIN datalane.audit_details d ON d.workspace_id = a.workspace_id AND d.audit_id = a.audit_id
WHERE a.workspace_id = :workspace_id
  AND (a.recorded_xid, a.audit_id) > (:after_xid::bigint, :after_id::uuid)
  AND (a.recorded_xid, a.audit_id) <= (:until_xid::bigint, :until_id::uuid)
ORDER BY a.recorded_xid, a.audit_id LIMIT :most;

-- name: get_rows(workspace_id, audit_ids)
-- Rows by their ids.
SELECT a.audit_id, a.occurred_at, a.actor_id, a.action, a.resource_type, a.resource_id, a.correlation_id,
       a.details_digest, a.recorded_xid, d.salt, d.before::text AS before, d.after::text AS after
FROM datalane.audit_log a
LEFT JOIN datalane.audit_details d ON d.workspace_id = a.workspace_id AND d.audit_id = a.audit_id
WHERE a.workspace_id = :workspace_id AND a.audit_id = ANY (:audit_ids::uuid[]);

-- name: list_erasures(workspace_id)
-- The records of erasing, with the text of their details.
SELECT a.audit_id, a.details_digest, d.salt, d.before::text AS before, d.after::text AS after
FROM datalane.audit_log a
JOIN datalane.audit_details d ON d.workspace_id = a.workspace_id AND d.audit_id = a.audit_id
WHERE a.workspace_id = :workspace_id AND a.action = 'audit.details_erased'
ORDER BY a.audit_id;

-- name: get_head(workspace_id)^
-- The newest seal.
SELECT workspace_id, seal_no, last_position, seal_hash, sealed_at
FROM datalane.audit_seals WHERE workspace_id = :workspace_id
ORDER BY seal_no DESC LIMIT 1;

-- name: list_heads()
-- For the operator: the newest seal of every workspace.
SELECT DISTINCT ON (workspace_id) workspace_id, seal_no, last_position, seal_hash, sealed_at
FROM datalane.audit_seals
ORDER BY workspace_id, seal_no DESC;

-- name: list_workspaces()
-- For the operator: every workspace with an audit row or a seal.
WITH RECURSIVE logged (workspace_id) AS (
    (SELECT workspace_id FROM datalane.audit_log ORDER BY workspace_id LIMIT 1)
    UNION ALL
    SELECT (SELECT a.workspace_id FROM datalane.audit_log a WHERE a.workspace_id > l.workspace_id
            ORDER BY a.workspace_id LIMIT 1)
    FROM logged l WHERE l.workspace_id IS NOT NULL)
SELECT workspace_id FROM logged WHERE workspace_id IS NOT NULL
UNION
SELECT workspace_id FROM datalane.audit_seals
ORDER BY workspace_id;
