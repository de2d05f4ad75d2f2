-- name: is_known(workspace_id)$
-- Whether this database knows the workspace.
SELECT EXISTS (SELECT FROM datalane.workspaces WHERE workspace_id = :workspace_id);

-- name: find_named(workspace_id, version_ids)
-- Versions that have rows. A version's file is named after it, by a constraint of the table.
SELECT version_id FROM datalane.document_versions
WHERE workspace_id = :workspace_id AND version_id = ANY (:version_ids::uuid[]);
