-- What `datalane explain` asks.

-- name: list_workspaces(most)
-- For the operator: the oldest workspaces.
SELECT workspace_id FROM datalane.workspaces ORDER BY created_at, workspace_id LIMIT :most;

-- name: count_indexed(workspace_id, collection)$
-- How many items a workspace has, as its search index counts them.
SELECT coalesce(sum(entries), 0)::bigint FROM datalane.search_totals
WHERE workspace_id = :workspace_id AND collection = :collection::smallint;

-- name: sample_items(workspace_id, most)
-- Items from evenly over the time in which the workspace's items were made.
WITH span AS MATERIALIZED (
    SELECT min(created_at) AS first, max(created_at) AS last FROM datalane.items
    WHERE workspace_id = :workspace_id AND deleted_at IS NULL
)
SELECT DISTINCT found.item_id, found.project_id, found.assignee_id, found.created_by_actor_id, found.created_at,
    found.tags, found.metadata, found.title
FROM span CROSS JOIN generate_series(0, :most::bigint - 1) AS n
CROSS JOIN LATERAL (
    SELECT i.item_id, i.project_id, i.assignee_id, i.created_by_actor_id, i.created_at, i.tags, i.metadata, i.title
    FROM datalane.items i
    WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL
      AND i.created_at >= span.first + (span.last - span.first) * (n / :most::float8)
    ORDER BY i.created_at, i.item_id LIMIT 1
) AS found
ORDER BY found.created_at, found.item_id;

-- name: list_indexes(tables)
-- Indexes of tables of the schema datalane, with their size in bytes and how often they were scanned since the
-- statistics began.
SELECT t.relname AS table_name, i.relname AS index_name, pg_relation_size(i.oid) AS size, coalesce(s.idx_scan, 0) AS scans,
    CASE WHEN x.indisprimary THEN 'primary key' WHEN x.indisunique THEN 'unique' ELSE 'index' END AS kind
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN pg_catalog.pg_stat_all_indexes s ON s.indexrelid = x.indexrelid
WHERE n.nspname = 'datalane' AND t.relname = ANY (:tables::text[])
ORDER BY t.relname, i.relname;
