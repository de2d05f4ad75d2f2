-- What `datalane seed work` writes. All of an item follows from the seed and its number: a draw is 21 bits of a hash of
-- the two, so that a number gives the same item in whatever order, and beside however many others, it is made.

-- name: add_projects(workspace_id, project_ids, titles, actor_id, at)!
-- Those that are not there yet.
INSERT INTO datalane.projects (workspace_id, project_id, title, status, created_at, updated_at, created_by_actor_id,
    updated_by_actor_id)
SELECT :workspace_id, p.project_id, p.title, 'active', :at, :at, :actor_id, :actor_id
FROM unnest(:project_ids::uuid[], :titles::text[]) AS p (project_id, title)
ON CONFLICT (workspace_id, project_id) DO NOTHING;

-- name: add_fields(workspace_id, field_ids, keys, types, actor_id, at)!
-- Those that are not there yet, ready from the start: the items that come hold their values.
INSERT INTO datalane.field_definitions (workspace_id, field_id, key, type, index_state, created_at, updated_at,
    created_by_actor_id, updated_by_actor_id)
SELECT :workspace_id, f.field_id, f.key, f.type, 'ready', :at, :at, :actor_id, :actor_id
FROM unnest(:field_ids::uuid[], :keys::text[], :types::text[]) AS f (field_id, key, type)
ON CONFLICT (workspace_id, field_id) DO NOTHING;

-- name: add_items(workspace_id, salt, first, last, began, step, words, projects, people, team_field, cost_field, due_field, correlation_id)!
-- The items numbered from `first` to `last`, what filters find them by, and their timeline. `words` are of 6 letters and
-- a space each, the common ones first.
WITH hashed AS MATERIALIZED (
    SELECT :began::timestamptz + n * :step::interval AS created_at, length(:words::bytea) / 7 AS known,
        hashint8extended(n, :salt::bigint) AS a, hashint8extended(n, :salt::bigint + 1) AS b,
        hashint8extended(n, :salt::bigint + 2) AS c, hashint8extended(n, :salt::bigint + 3) AS d,
        hashint8extended(n, :salt::bigint + 4) AS e, hashint8extended(n, :salt::bigint + 5) AS f
    FROM generate_series(:first::bigint, :last::bigint) AS n
), drawn AS MATERIALIZED (
    SELECT created_at, a, b, c, d,
        (a & 2097151) / 2097152::float8 AS life, (a >> 21 & 2097151) / 2097152::float8 AS delay,
        (a >> 42 & 2097151) / 2097152::float8 AS urgency, (b & 2097151) / 2097152::float8 AS place,
        (b >> 21 & 2097151) / 2097152::float8 AS person, (b >> 42 & 2097151) / 2097152::float8 AS maker,
        (c & 2097151) / 2097152::float8 AS area, (c >> 21 & 2097151) / 2097152::float8 AS kind,
        (c >> 42 & 2097151) / 2097152::float8 AS topic, (d & 2097151) / 2097152::float8 AS team,
        (d >> 21 & 2097151) / 2097152::float8 AS cost, (d >> 42 & 2097151) / 2097152::float8 AS due,
        floor(known * ((e & 2097151) / 2097152::float8) ^ 4)::integer AS word_1,
        floor(known * ((e >> 21 & 2097151) / 2097152::float8) ^ 4)::integer AS word_2,
        floor(known * ((e >> 42 & 2097151) / 2097152::float8) ^ 4)::integer AS word_3,
        floor(known * ((f & 2097151) / 2097152::float8) ^ 4)::integer AS word_4,
        floor(known * ((f >> 21 & 2097151) / 2097152::float8) ^ 4)::integer AS word_5
    FROM hashed
), items AS MATERIALIZED (
    SELECT created_at, c, d, life >= 0.98 AS is_deleted,
        (lpad(to_hex((extract(epoch FROM created_at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(a & 4095), 3, '0')
         || '8' || lpad(to_hex(b & 1152921504606846975), 15, '0'))::uuid AS item_id,
        rtrim(convert_from(substr(:words::bytea, 1 + 7 * word_1, 7) || substr(:words::bytea, 1 + 7 * word_2, 7)
            || substr(:words::bytea, 1 + 7 * word_3, 7) || substr(:words::bytea, 1 + 7 * word_4, 7)
            || substr(:words::bytea, 1 + 7 * word_5, 7), 'UTF8')) AS title,
        CASE WHEN life < 0.2 THEN 'archived' WHEN life < 0.35 THEN 'draft' ELSE 'active' END AS status,
        CASE WHEN life < 0.2 THEN 'transitioned' WHEN life >= 0.98 THEN 'deleted' WHEN life >= 0.88 THEN 'updated' END
            AS last_action,
        created_at + CASE WHEN life < 0.2 OR life >= 0.88 THEN interval '1 minute' + delay ^ 3 * interval '90 days'
            ELSE interval '0' END AS updated_at,
        floor(5 * urgency)::smallint AS priority,
        CASE WHEN place < 0.9 THEN
            (:projects::uuid[])[1 + floor(cardinality(:projects::uuid[]) * (place / 0.9) ^ 2)::integer] END
            AS project_id,
        CASE WHEN person < 0.7 THEN
            (:people::uuid[])[1 + floor(cardinality(:people::uuid[]) * person / 0.7)::integer] END AS assignee_id,
        (:people::uuid[])[1 + floor(cardinality(:people::uuid[]) * maker)::integer] AS maker_id,
        array_remove(ARRAY[
            CASE WHEN area < 0.5 THEN 'area-' || floor(40 * (area * 2) ^ 3) END,
            CASE WHEN kind < 0.5 THEN 'kind-' || floor(12 * (kind * 2) ^ 2) END,
            CASE WHEN topic < 0.5 THEN 'topic-' || floor(500 * (topic * 2) ^ 3) END], NULL) AS tags,
        CASE WHEN team < 0.7 THEN 'team ' || floor(30 * (team / 0.7) ^ 2) END AS team,
        CASE WHEN cost < 0.5 THEN floor(1000000 * (cost / 0.5) ^ 3) / 100 END AS cost,
        CASE WHEN due < 0.3 THEN (created_at AT TIME ZONE 'UTC')::date + floor(due * 600)::integer END AS due_on
    FROM drawn
), stored AS (
    INSERT INTO datalane.items (workspace_id, item_id, project_id, title, status, priority, assignee_id, tags, metadata,
        version, created_at, updated_at, archived_at, deleted_at, created_by_actor_id, updated_by_actor_id)
    SELECT :workspace_id, item_id, project_id, title, status, priority, assignee_id, tags,
        jsonb_strip_nulls(jsonb_build_object('team', team, 'cost', cost, 'due', due_on)),
        CASE WHEN last_action IS NULL THEN 1 ELSE 2 END, created_at, updated_at,
        CASE WHEN status = 'archived' THEN updated_at END, CASE WHEN is_deleted THEN updated_at END, maker_id, maker_id
    FROM items
), tagged AS (
    INSERT INTO datalane.item_tags (workspace_id, tag, item_id)
    SELECT :workspace_id, t.tag, i.item_id FROM items i CROSS JOIN LATERAL unnest(i.tags) AS t (tag)
    ORDER BY t.tag, i.item_id
), teams AS (
    INSERT INTO datalane.item_fields (workspace_id, field_id, item_id, text_value)
    SELECT :workspace_id, :team_field::uuid, item_id, team FROM items WHERE team IS NOT NULL
), costs AS (
    INSERT INTO datalane.item_fields (workspace_id, field_id, item_id, number_value)
    SELECT :workspace_id, :cost_field::uuid, item_id, cost FROM items WHERE cost IS NOT NULL
), dues AS (
    INSERT INTO datalane.item_fields (workspace_id, field_id, item_id, date_value)
    SELECT :workspace_id, :due_field::uuid, item_id, due_on::timestamp AT TIME ZONE 'UTC'
    FROM items WHERE due_on IS NOT NULL
), told AS (
    SELECT item_id, 1 AS version, 'created' AS action, 'created' AS summary, '[]'::jsonb AS changes, created_at AS at,
        c AS noise, maker_id
    FROM items
    UNION ALL
    SELECT item_id, 2, last_action,
        CASE last_action WHEN 'transitioned' THEN 'moved from active to archived' WHEN 'updated' THEN 'changed priority'
            ELSE last_action END,
        CASE last_action
            WHEN 'transitioned' THEN '[{"field": "status", "before": "active", "after": "archived"}]'::jsonb
            WHEN 'deleted' THEN '[{"field": "deleted", "before": false, "after": true}]'::jsonb
            ELSE jsonb_build_array(jsonb_build_object('field', 'priority', 'before', (priority + 1) % 5, 'after', priority))
            END,
        updated_at, d, maker_id
    FROM items WHERE last_action IS NOT NULL
)
INSERT INTO datalane.timeline (workspace_id, entry_id, entity_type, entity_id, entity_version, action, summary, changes,
    actor_id, correlation_id, occurred_at)
SELECT :workspace_id,
    (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(version), 3, '0')
     || '8' || lpad(to_hex(noise & 1152921504606846975), 15, '0'))::uuid,
    'item', item_id, version, action, summary, changes, maker_id, :correlation_id, at
FROM told;

-- name: texts_of_slice(workspace_id, first, last, began, step)^
-- What text filters find the items of a slice by: as arrays, so that it goes back to the index as it came.
SELECT coalesce(array_agg(item_id), '{}') AS item_ids,
    coalesce(array_agg(title || E'\n' || description), '{}') AS texts
FROM datalane.items
WHERE workspace_id = :workspace_id
  AND item_id >= app.uuid7_floor(:began::timestamptz + :first::bigint * :step::interval)
  AND item_id < app.uuid7_floor(:began::timestamptz + (:last::bigint + 1) * :step::interval);

-- name: slices_there(workspace_id, firsts, began, step)
-- Of the slices that begin with these numbers, those that are stored.
SELECT f.first FROM unnest(:firsts::bigint[]) AS f (first)
WHERE EXISTS (
    SELECT FROM datalane.items
    WHERE workspace_id = :workspace_id
      AND item_id >= app.uuid7_floor(:began::timestamptz + f.first * :step::interval)
      AND item_id < app.uuid7_floor(:began::timestamptz + (f.first + 1) * :step::interval));

-- name: settle(workspace_id, project_id)!
-- A write whose commit is waited for: all that was committed before it is on the disk then.
UPDATE datalane.projects SET title = title WHERE workspace_id = :workspace_id AND project_id = :project_id;
