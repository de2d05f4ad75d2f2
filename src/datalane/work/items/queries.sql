-- name: get_item(workspace_id, item_id)^
-- One item, deleted or not.
SELECT item_id, project_id, title, description, status, priority, assignee_id, tags, metadata, version, created_at,
       updated_at, archived_at, deleted_at, created_by_actor_id, updated_by_actor_id
FROM datalane.items WHERE workspace_id = :workspace_id AND item_id = :item_id;

-- name: lock_items(workspace_id, item_ids)
-- Items that are about to change, always locked in the same order.
SELECT item_id, project_id, title, description, status, priority, assignee_id, tags, metadata, version, created_at,
       updated_at, archived_at, deleted_at, created_by_actor_id, updated_by_actor_id
FROM datalane.items WHERE workspace_id = :workspace_id AND item_id = ANY (:item_ids::uuid[])
ORDER BY item_id FOR NO KEY UPDATE;

-- name: lock_projects(workspace_id, project_ids)
-- Projects that items are about to point at, kept from being deleted until the items are there.
SELECT project_id, status FROM datalane.projects
WHERE workspace_id = :workspace_id AND project_id = ANY (:project_ids::uuid[]) AND deleted_at IS NULL
ORDER BY project_id FOR KEY SHARE;

-- name: find_members(workspace_id, user_ids)
-- Those who may be assigned an item.
SELECT user_id FROM datalane.memberships
WHERE workspace_id = :workspace_id AND user_id = ANY (:user_ids::uuid[]) AND status = 'active';

-- name: add_items(workspace_id, rows)!
-- New items.
INSERT INTO datalane.items (workspace_id, item_id, project_id, title, description, status, priority, assignee_id, tags,
                            metadata, version, created_at, updated_at, created_by_actor_id, updated_by_actor_id)
SELECT :workspace_id, r.item_id, r.project_id, r.title, r.description, r.status, r.priority, r.assignee_id, r.tags,
       r.metadata, r.version, r.created_at, r.updated_at, r.created_by_actor_id, r.updated_by_actor_id
FROM jsonb_to_recordset(:rows::jsonb) AS r (
    item_id uuid, project_id uuid, title text, description text, status text, priority smallint, assignee_id uuid,
    tags text[], metadata jsonb, version bigint, created_at timestamptz, updated_at timestamptz,
    created_by_actor_id uuid, updated_by_actor_id uuid);

-- name: set_items(workspace_id, rows)!
-- The next version of items that are locked.
UPDATE datalane.items i
SET project_id = r.project_id, title = r.title, description = r.description, status = r.status, priority = r.priority,
    assignee_id = r.assignee_id, tags = r.tags, metadata = r.metadata, version = r.version, updated_at = r.updated_at,
    archived_at = r.archived_at, deleted_at = r.deleted_at, updated_by_actor_id = r.updated_by_actor_id
FROM jsonb_to_recordset(:rows::jsonb) AS r (
    item_id uuid, project_id uuid, title text, description text, status text, priority smallint, assignee_id uuid,
    tags text[], metadata jsonb, version bigint, updated_at timestamptz, archived_at timestamptz,
    deleted_at timestamptz, updated_by_actor_id uuid)
WHERE i.workspace_id = :workspace_id AND i.item_id = r.item_id AND i.version = r.version - 1;

-- name: add_tags(workspace_id, item_ids, tags)!
-- What items are found by.
INSERT INTO datalane.item_tags (workspace_id, tag, item_id)
SELECT :workspace_id, t.tag, t.item_id FROM unnest(:item_ids::uuid[], :tags::text[]) AS t (item_id, tag)
ORDER BY t.tag, t.item_id;

-- name: drop_tags(workspace_id, item_ids, tags)!
-- Tags that items have no more.
DELETE FROM datalane.item_tags i USING unnest(:item_ids::uuid[], :tags::text[]) AS t (item_id, tag)
WHERE i.workspace_id = :workspace_id AND i.tag = t.tag AND i.item_id = t.item_id;
