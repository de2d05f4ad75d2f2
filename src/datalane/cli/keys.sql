-- name: list_data_keys()
-- Which workspace's data key is under which master key; the operator's columns, never the key.
SELECT workspace_id, master_key_id, created_at, wrapped_at FROM datalane.data_keys ORDER BY workspace_id;

-- name: list_data_keys_here(workspace_id)
-- The same of one workspace, through its door.
SELECT workspace_id, master_key_id, created_at, wrapped_at FROM datalane.data_keys WHERE workspace_id = :workspace_id;
