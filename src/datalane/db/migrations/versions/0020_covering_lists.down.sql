CREATE INDEX IF NOT EXISTS items_by_status ON datalane.items (workspace_id, status, updated_at, item_id) WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS items_by_project ON datalane.items (workspace_id, project_id, updated_at, item_id) WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS items_by_assignee ON datalane.items (workspace_id, assignee_id, updated_at, item_id) WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS items_by_creator ON datalane.items (workspace_id, created_by_actor_id, updated_at, item_id) WHERE deleted_at IS NULL;
DROP INDEX IF EXISTS datalane.items_of_status;
DROP INDEX IF EXISTS datalane.items_of_project;
DROP INDEX IF EXISTS datalane.items_of_assignee;
DROP INDEX IF EXISTS datalane.items_of_creator;
