-- name: lock_views(workspace_id, owner_id)$
-- One's own views, or the shared ones of the workspace, change one at a time.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws('/', :workspace_id::uuid, :owner_id::uuid), 3));

-- name: list_views(workspace_id, actor_id, after_name, after_id, page_size)
-- One's own views and the shared ones, by name.
SELECT view_id, name, shared, query, version, created_at, updated_at, created_by_actor_id, updated_by_actor_id
FROM (SELECT p.view_id, p.name, false AS shared, p.query, p.version, p.created_at, p.updated_at,
             p.actor_id AS created_by_actor_id, p.actor_id AS updated_by_actor_id
      FROM datalane.personal_views p WHERE p.workspace_id = :workspace_id AND p.actor_id = :actor_id
      UNION ALL
      SELECT s.view_id, s.name, true, s.query, s.version, s.created_at, s.updated_at, s.created_by_actor_id,
             s.updated_by_actor_id
      FROM datalane.shared_views s WHERE s.workspace_id = :workspace_id) AS views
WHERE :after_name::text IS NULL OR (name, view_id) > (:after_name, :after_id::uuid)
ORDER BY name, view_id LIMIT :page_size;

-- name: get_view(workspace_id, actor_id, view_id)^
-- One of one's own views or of the shared ones.
SELECT p.view_id, p.name, false AS shared, p.query, p.version, p.created_at, p.updated_at,
       p.actor_id AS created_by_actor_id, p.actor_id AS updated_by_actor_id
FROM datalane.personal_views p
WHERE p.workspace_id = :workspace_id AND p.actor_id = :actor_id AND p.view_id = :view_id
UNION ALL
SELECT s.view_id, s.name, true, s.query, s.version, s.created_at, s.updated_at, s.created_by_actor_id,
       s.updated_by_actor_id
FROM datalane.shared_views s WHERE s.workspace_id = :workspace_id AND s.view_id = :view_id;

-- name: list_personal_names(workspace_id, actor_id)
-- What one's own views are called.
SELECT view_id, name FROM datalane.personal_views WHERE workspace_id = :workspace_id AND actor_id = :actor_id;

-- name: list_shared_names(workspace_id)
-- What the shared views are called.
SELECT view_id, name FROM datalane.shared_views WHERE workspace_id = :workspace_id;

-- name: add_personal(workspace_id, view_id, actor_id, name, query, now)!
-- A new view of one's own.
INSERT INTO datalane.personal_views (workspace_id, view_id, actor_id, name, query, created_at, updated_at)
VALUES (:workspace_id, :view_id, :actor_id, :name, :query, :now, :now);

-- name: add_shared(workspace_id, view_id, actor_id, name, query, now)!
-- A new shared view.
INSERT INTO datalane.shared_views (workspace_id, view_id, name, query, created_at, updated_at, created_by_actor_id,
                                   updated_by_actor_id)
VALUES (:workspace_id, :view_id, :name, :query, :now, :now, :actor_id, :actor_id);

-- name: set_personal(workspace_id, view_id, actor_id, name, query, version, now)!
-- The next version of a view of one's own.
UPDATE datalane.personal_views SET name = :name, query = :query, version = :version, updated_at = :now
WHERE workspace_id = :workspace_id AND view_id = :view_id AND actor_id = :actor_id AND version = :version - 1;

-- name: set_shared(workspace_id, view_id, actor_id, name, query, version, now)!
-- The next version of a shared view.
UPDATE datalane.shared_views
SET name = :name, query = :query, version = :version, updated_at = :now, updated_by_actor_id = :actor_id
WHERE workspace_id = :workspace_id AND view_id = :view_id AND version = :version - 1;

-- name: delete_personal(workspace_id, view_id, actor_id)!
-- A view of one's own.
DELETE FROM datalane.personal_views
WHERE workspace_id = :workspace_id AND view_id = :view_id AND actor_id = :actor_id;

-- name: delete_shared(workspace_id, view_id)!
-- A shared view.
DELETE FROM datalane.shared_views WHERE workspace_id = :workspace_id AND view_id = :view_id;
