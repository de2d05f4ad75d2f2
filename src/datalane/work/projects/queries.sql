-- name: get_project(workspace_id, project_id)^
-- One project, deleted or not.
SELECT project_id, title, description, status, version, created_at, updated_at, archived_at, deleted_at,
       created_by_actor_id, updated_by_actor_id
FROM datalane.projects WHERE workspace_id = :workspace_id AND project_id = :project_id;

-- name: list_projects(workspace_id, statuses, after_time, after_id, page_size)
-- Projects that are not deleted, the last changed first.
SELECT project_id, title, description, status, version, created_at, updated_at, archived_at, deleted_at,
       created_by_actor_id, updated_by_actor_id
FROM datalane.projects
WHERE workspace_id = :workspace_id AND deleted_at IS NULL
  AND (:statuses::text[] IS NULL OR status = ANY (:statuses))
  AND (:after_time::timestamptz IS NULL OR (updated_at, project_id) < (:after_time, :after_id::uuid))
ORDER BY updated_at DESC, project_id DESC LIMIT :page_size;

-- name: lock_project(workspace_id, project_id)^
-- A project that is about to change; while it is held, no item can begin to point at it.
SELECT project_id, title, description, status, version, created_at, updated_at, archived_at, deleted_at,
       created_by_actor_id, updated_by_actor_id
FROM datalane.projects WHERE workspace_id = :workspace_id AND project_id = :project_id FOR UPDATE;

-- name: has_items(workspace_id, project_id)$
-- Whether the project has items that are not deleted.
SELECT EXISTS (SELECT FROM datalane.items
               WHERE workspace_id = :workspace_id AND project_id = :project_id AND deleted_at IS NULL);

-- name: add_project(workspace_id, project_id, title, description, status, now, actor_id)!
-- A new project.
INSERT INTO datalane.projects (workspace_id, project_id, title, description, status, created_at, updated_at,
                               created_by_actor_id, updated_by_actor_id)
VALUES (:workspace_id, :project_id, :title, :description, :status, :now, :now, :actor_id, :actor_id);

-- name: set_project(workspace_id, project_id, title, description, status, archived_at, deleted_at, version, now, actor_id)!
-- The next version of a project that is locked.
UPDATE datalane.projects
SET title = :title, description = :description, status = :status, archived_at = :archived_at, deleted_at = :deleted_at,
    version = :version, updated_at = :now, updated_by_actor_id = :actor_id
WHERE workspace_id = :workspace_id AND project_id = :project_id AND version = :version - 1;
