-- The tracking plan of a workspace, and that of the application.

-- name: find_version(workspace_id, event_name, event_version)^
-- One version of the workspace, and whether it has this name from the application.
SELECT p.tracking_id, p.event_name, p.event_version, p.json_schema, p.owner, p.description, p.registered_at, r.retired_at,
       r.reason AS retired_reason
FROM datalane.tracking_plan p
LEFT JOIN datalane.tracking_retirements r
    ON r.workspace_id = p.workspace_id AND r.event_name = p.event_name AND r.event_version = p.event_version
WHERE p.workspace_id = :workspace_id AND p.event_name = :event_name AND p.event_version = :event_version;

-- name: is_tracked(event_name)$
-- Whether the application tracks an event of this name.
SELECT EXISTS (SELECT FROM datalane.read_tracked_events(ARRAY[:event_name::text]));

-- name: lock_name(workspace_id, event_name)$
-- Whoever adds a version of an event does so in turn.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws('/', :workspace_id::uuid, :event_name::text), 411));

-- name: count_versions(workspace_id, event_name)$
-- How many versions of an event the workspace has, with those that are retired.
SELECT count(*) FROM datalane.tracking_plan WHERE workspace_id = :workspace_id AND event_name = :event_name;

-- name: add_version(workspace_id, tracking_id, event_name, event_version, json_schema, owner, description, now, actor_id)!
-- A version that is not there yet.
INSERT INTO datalane.tracking_plan (workspace_id, event_name, event_version, tracking_id, json_schema, owner, description, registered_at,
                                    registered_by_actor_id)
VALUES (:workspace_id, :event_name, :event_version, :tracking_id, :json_schema, :owner, :description, :now, :actor_id)
ON CONFLICT (workspace_id, event_name, event_version) DO NOTHING;

-- name: retire_version(workspace_id, event_name, event_version, reason, now, actor_id)!
-- A version that is not retired yet.
INSERT INTO datalane.tracking_retirements (workspace_id, event_name, event_version, reason, retired_at, retired_by_actor_id)
VALUES (:workspace_id, :event_name, :event_version, :reason, :now, :actor_id)
ON CONFLICT (workspace_id, event_name, event_version) DO NOTHING;

-- name: list_versions(workspace_id, event_name, behind, behind_version, behind_source, page_size)
-- Versions of the application and of the workspace, by name.
WITH application AS MATERIALIZED (
    SELECT t.tracking_id, t.event_name, t.event_version, t.json_schema, t.owner, t.description, t.registered_at, t.retired_at,
           t.retired_reason
    FROM datalane.read_tracked_events(CASE WHEN :event_name::text IS NOT NULL THEN ARRAY[:event_name::text] END) AS t
)
SELECT u.tracking_id, u.event_name, u.event_version, u.json_schema, u.owner, u.description, u.source, u.shadowed, u.registered_at, u.retired_at,
       u.retired_reason
FROM (
    SELECT t.tracking_id, t.event_name COLLATE "C" AS event_name, t.event_version, t.json_schema, t.owner, t.description,
           'application' AS source, false AS shadowed, t.registered_at, t.retired_at, t.retired_reason
    FROM application t
    UNION ALL
    SELECT p.tracking_id, p.event_name COLLATE "C", p.event_version, p.json_schema, p.owner, p.description, 'workspace',
           EXISTS (SELECT FROM application t WHERE t.event_name = p.event_name), p.registered_at, r.retired_at, r.reason
    FROM datalane.tracking_plan p
    LEFT JOIN datalane.tracking_retirements r
        ON r.workspace_id = p.workspace_id AND r.event_name = p.event_name AND r.event_version = p.event_version
    WHERE p.workspace_id = :workspace_id
) u
WHERE (:event_name::text IS NULL OR u.event_name = :event_name)
  AND (:behind::text IS NULL OR (u.event_name, u.event_version, u.source) > (:behind, :behind_version::integer, :behind_source::text))
ORDER BY u.event_name, u.event_version, u.source LIMIT :page_size;
