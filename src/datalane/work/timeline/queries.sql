-- name: add_entries(workspace_id, entries, actor_id, correlation_id, now)!
-- Entries of the timeline, each of another version.
INSERT INTO datalane.timeline (workspace_id, entry_id, entity_type, entity_id, entity_version, action, summary, changes,
                               actor_id, correlation_id, occurred_at)
SELECT :workspace_id, e.entry_id, e.entity_type, e.entity_id, e.entity_version, e.action, e.summary, e.changes,
       :actor_id, :correlation_id, :now
FROM jsonb_to_recordset(:entries::jsonb) AS e (
    entry_id uuid, entity_type text, entity_id uuid, entity_version bigint, action text, summary text, changes jsonb);

-- name: list_changed_fields(workspace_id, entity_type, entity_ids, versions)
-- The fields that were changed in things since a version of each.
SELECT t.entity_id, array_agg(DISTINCT c.change ->> 'field' ORDER BY c.change ->> 'field') AS fields
FROM unnest(:entity_ids::uuid[], :versions::bigint[]) AS seen (id, version)
JOIN datalane.timeline t ON t.workspace_id = :workspace_id AND t.entity_type = :entity_type AND t.entity_id = seen.id
    AND t.entity_version > seen.version
CROSS JOIN LATERAL jsonb_array_elements(t.changes) AS c (change)
GROUP BY t.entity_id;
