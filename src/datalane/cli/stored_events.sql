-- name: find_last_events(event_types, versions, most)
-- For the operator: where the newest events of each type and version are. Operational columns only, no payload.
SELECT e.workspace_id, e.event_id
FROM unnest(:event_types::text[], :versions::integer[]) AS wanted (event_type, version)
CROSS JOIN LATERAL (
    SELECT workspace_id, event_id FROM datalane.events
    WHERE event_type = wanted.event_type AND version = wanted.version
    ORDER BY event_id DESC LIMIT :most) AS e;

-- name: find_last_events_here(workspace_id, event_types, versions, most)
-- The same inside one workspace, through its door.
SELECT e.event_id
FROM unnest(:event_types::text[], :versions::integer[]) AS wanted (event_type, version)
CROSS JOIN LATERAL (
    SELECT event_id FROM datalane.events
    WHERE workspace_id = :workspace_id AND event_type = wanted.event_type AND version = wanted.version
    ORDER BY event_id DESC LIMIT :most) AS e;

-- name: get_payloads(workspace_id, event_ids)
-- Through the door of the events' own workspace.
SELECT event_id, event_type, version, payload FROM datalane.events
WHERE workspace_id = :workspace_id AND event_id = ANY (:event_ids::uuid[])
ORDER BY event_id;
