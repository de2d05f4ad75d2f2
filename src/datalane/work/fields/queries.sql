-- name: load_fields(workspace_id)
-- The fields of the workspace, each with the keys it had before.
SELECT d.field_id, d.key, d.type, d.required, d.sensitive, d.index_state,
       ARRAY(SELECT a.key FROM datalane.field_aliases a
             WHERE a.workspace_id = :workspace_id AND a.field_id = d.field_id ORDER BY a.key) AS old_keys
FROM datalane.field_definitions d WHERE d.workspace_id = :workspace_id ORDER BY d.key;
