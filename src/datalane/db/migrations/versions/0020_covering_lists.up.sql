-- As the indexes that they take the place of, with what else a list may be ordered by.
CREATE INDEX IF NOT EXISTS items_of_status ON datalane.items (workspace_id, status, updated_at, item_id) INCLUDE (created_at, priority)
    WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS items_of_project ON datalane.items (workspace_id, project_id, updated_at, item_id) INCLUDE (created_at, priority)
    WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS items_of_assignee ON datalane.items (workspace_id, assignee_id, updated_at, item_id) INCLUDE (created_at, priority)
    WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS items_of_creator ON datalane.items (workspace_id, created_by_actor_id, updated_at, item_id) INCLUDE (created_at, priority)
    WHERE deleted_at IS NULL;
DROP INDEX IF EXISTS datalane.items_by_status;
DROP INDEX IF EXISTS datalane.items_by_project;
DROP INDEX IF EXISTS datalane.items_by_assignee;
DROP INDEX IF EXISTS datalane.items_by_creator;
