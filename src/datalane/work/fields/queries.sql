-- name: load_fields(workspace_id)
-- The fields of the workspace, each with the keys it had before.
SELECT d.field_id, d.key, d.type, d.required, d.sensitive, d.index_state,
       ARRAY(SELECT a.key FROM datalane.field_aliases a
             WHERE a.workspace_id = :workspace_id AND a.field_id = d.field_id ORDER BY a.key) AS old_keys
FROM datalane.field_definitions d WHERE d.workspace_id = :workspace_id ORDER BY d.key;

-- name: hold_fields()
-- The same for the door's workspace, unchanged until the transaction ends.
SELECT field_id, key, type, required, sensitive, index_state, old_keys FROM datalane.hold_fields();

-- name: lock_fields(workspace_id)$
-- Changes of the fields of a workspace happen in turn, while nobody writes its items. The key is that of hold_fields.
SELECT pg_advisory_xact_lock(hashtextextended((:workspace_id::uuid)::text, 2));

-- name: list_fields(workspace_id)
-- The fields of the workspace as callers see them.
SELECT d.field_id, d.key, d.type, d.required, d.index_state <> 'none' AS indexed, d.index_state, d.sensitive,
       ARRAY(SELECT a.key FROM datalane.field_aliases a
             WHERE a.workspace_id = :workspace_id AND a.field_id = d.field_id ORDER BY a.key) AS old_keys,
       d.version, d.created_at, d.updated_at, d.created_by_actor_id, d.updated_by_actor_id
FROM datalane.field_definitions d WHERE d.workspace_id = :workspace_id ORDER BY d.key;

-- name: add_field(workspace_id, field_id, key, type, required, sensitive, index_state, index_build, now, actor_id)!
-- A new field.
INSERT INTO datalane.field_definitions (workspace_id, field_id, key, type, required, sensitive, index_state, index_build,
                                        created_at, updated_at, created_by_actor_id, updated_by_actor_id)
VALUES (:workspace_id, :field_id, :key, :type, :required, :sensitive, :index_state, :index_build,
        :now, :now, :actor_id, :actor_id);

-- name: set_field(workspace_id, field_id, key, required, sensitive, version, now, actor_id)!
-- The next version of a field.
UPDATE datalane.field_definitions
SET key = :key, required = :required, sensitive = :sensitive, version = :version, updated_at = :now,
    updated_by_actor_id = :actor_id
WHERE workspace_id = :workspace_id AND field_id = :field_id AND version = :version - 1;

-- name: set_index(workspace_id, field_id, index_state, index_build)!
-- Whether a field is indexed, or by which building it will be.
UPDATE datalane.field_definitions SET index_state = :index_state, index_build = :index_build
WHERE workspace_id = :workspace_id AND field_id = :field_id;

-- name: delete_field(workspace_id, field_id)!
-- A field and the keys it had.
DELETE FROM datalane.field_definitions WHERE workspace_id = :workspace_id AND field_id = :field_id;

-- name: add_alias(workspace_id, key, field_id)!
-- A key that a field had until now.
INSERT INTO datalane.field_aliases (workspace_id, key, field_id) VALUES (:workspace_id, :key, :field_id);

-- name: delete_alias(workspace_id, key)!
-- A key that its field has again.
DELETE FROM datalane.field_aliases WHERE workspace_id = :workspace_id AND key = :key;

-- name: has_metadata(workspace_id, key)$
-- Whether an item, deleted or not, has something under this key.
SELECT EXISTS (SELECT FROM datalane.items WHERE workspace_id = :workspace_id AND metadata ? :key::text);

-- name: get_last_item(workspace_id)$
-- The last item by id, deleted or not.
SELECT item_id FROM datalane.items WHERE workspace_id = :workspace_id ORDER BY item_id DESC LIMIT 1;

-- name: get_build(workspace_id, field_id)$
-- The building that a field's index is under; null when there is none, or no such field.
SELECT index_build FROM datalane.field_definitions WHERE workspace_id = :workspace_id AND field_id = :field_id;

-- name: get_end(workspace_id, following, until, most)$
-- The last one of the next `most` items by id; null when fewer are left up to `until`.
SELECT item_id FROM datalane.items
WHERE workspace_id = :workspace_id AND item_id > :following AND item_id <= :until
ORDER BY item_id OFFSET :most::integer - 1 LIMIT 1;

-- name: lock_values(workspace_id, field_id, keys, following, until)
-- Items that have a value of a field, in their metadata or in its index, kept from being changed. `found` are the
-- values in the metadata by key. Who writes items locks them in the same order.
SELECT i.item_id,
       (SELECT jsonb_object_agg(k.key, i.metadata -> k.key) FROM unnest(:keys::text[]) AS k (key)
        WHERE i.metadata ? k.key) AS found
FROM datalane.items i
WHERE i.workspace_id = :workspace_id AND i.item_id > :following AND i.item_id <= :until
  AND (i.metadata ?| :keys OR EXISTS (
      SELECT FROM datalane.item_fields f
      WHERE f.workspace_id = :workspace_id AND f.field_id = :field_id AND f.item_id = i.item_id))
ORDER BY i.item_id FOR SHARE OF i;

-- name: put_field_values(workspace_id, rows)!
-- Values of indexed fields, in place of those that are there.
INSERT INTO datalane.item_fields AS f (workspace_id, field_id, item_id, text_value, number_value, date_value)
SELECT :workspace_id, r.field_id, r.item_id, r.text, r.number, r.date
FROM jsonb_to_recordset(:rows::jsonb) AS r (
    field_id uuid, item_id uuid, text text, number double precision, date timestamptz)
ORDER BY r.field_id, r.item_id
ON CONFLICT (workspace_id, field_id, item_id) DO UPDATE
    SET text_value = EXCLUDED.text_value, number_value = EXCLUDED.number_value, date_value = EXCLUDED.date_value
    WHERE (f.text_value, f.number_value, f.date_value)
        IS DISTINCT FROM (EXCLUDED.text_value, EXCLUDED.number_value, EXCLUDED.date_value);

-- name: drop_field_values(workspace_id, field_ids, item_ids)!
-- Values of indexed fields that items have no more.
DELETE FROM datalane.item_fields i USING unnest(:field_ids::uuid[], :item_ids::uuid[]) AS f (field_id, item_id)
WHERE i.workspace_id = :workspace_id AND i.field_id = f.field_id AND i.item_id = f.item_id;

-- name: list_indexed(workspace_id, field_id, following, most)
-- The next items that have a value in the index of a field.
SELECT item_id FROM datalane.item_fields
WHERE workspace_id = :workspace_id AND field_id = :field_id AND item_id > :following ORDER BY item_id LIMIT :most;
