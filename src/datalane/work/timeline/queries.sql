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

-- name: list_entries(workspace_id, below_xid, below_id, page_size)
-- Entries of the workspace, newest first.
SELECT entry_id, entity_type, entity_id, entity_version, action, summary, changes, actor_id, correlation_id, occurred_at,
       recorded_xid
FROM datalane.timeline
WHERE workspace_id = :workspace_id AND (recorded_xid, entry_id) < (:below_xid::bigint, :below_id::uuid)
ORDER BY recorded_xid DESC, entry_id DESC LIMIT :page_size;

-- name: list_entries_of_thing(workspace_id, entity_type, entity_id, below_version, page_size)
-- Entries of one thing, its newest version first.
SELECT entry_id, entity_type, entity_id, entity_version, action, summary, changes, actor_id, correlation_id, occurred_at,
       recorded_xid
FROM datalane.timeline
WHERE workspace_id = :workspace_id AND entity_type = :entity_type AND entity_id = :entity_id
  AND entity_version < :below_version::bigint
ORDER BY entity_version DESC LIMIT :page_size;

-- name: get_settled(workspace_id)^
-- The id below which every transaction has ended, and that of the workspace's last entry.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS settled,
       (SELECT recorded_xid FROM datalane.timeline WHERE workspace_id = :workspace_id
        ORDER BY recorded_xid DESC LIMIT 1) AS last;

-- name: list_settled(workspace_id, after_xid, after_id, settled, page_size)
-- Entries after a place, in the order to which nothing is added.
SELECT entry_id, entity_type, entity_id, entity_version, action, summary, changes, actor_id, correlation_id, occurred_at,
       recorded_xid
FROM datalane.timeline
WHERE workspace_id = :workspace_id AND (recorded_xid, entry_id) > (:after_xid::bigint, :after_id::uuid)
  AND recorded_xid < :settled::bigint
ORDER BY recorded_xid, entry_id LIMIT :page_size;

-- name: list_settled_of_thing(workspace_id, entity_type, entity_id, after_xid, after_id, settled, page_size)
-- The same of one thing.
SELECT entry_id, entity_type, entity_id, entity_version, action, summary, changes, actor_id, correlation_id, occurred_at,
       recorded_xid
FROM datalane.timeline
WHERE workspace_id = :workspace_id AND entity_type = :entity_type AND entity_id = :entity_id
  AND (recorded_xid, entry_id) > (:after_xid::bigint, :after_id::uuid) AND recorded_xid < :settled::bigint
ORDER BY recorded_xid, entry_id LIMIT :page_size;
