-- name: get_data_key(workspace_id)^
-- The workspace's data key, wrapped.
SELECT master_key_id, wrapped FROM datalane.data_keys WHERE workspace_id = :workspace_id;

-- name: add_data_key(workspace_id, master_key_id, wrapped, now)!
-- The first data key of a workspace; of two at once one stays.
INSERT INTO datalane.data_keys (workspace_id, master_key_id, wrapped, created_at, wrapped_at)
VALUES (:workspace_id, :master_key_id, :wrapped, :now, :now) ON CONFLICT (workspace_id) DO NOTHING;

-- name: rewrap_data_key(workspace_id, before, master_key_id, wrapped, now)!
-- The same data key under another master key.
UPDATE datalane.data_keys SET master_key_id = :master_key_id, wrapped = :wrapped, wrapped_at = :now
WHERE workspace_id = :workspace_id AND master_key_id = :before;
