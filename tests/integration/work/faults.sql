-- The tags of an item are those it is found by.
SELECT coalesce(a.item_id, b.item_id), a.tag, b.tag
FROM (SELECT item_id, unnest(tags) AS tag FROM datalane.items WHERE workspace_id = app.workspace_id()) a
FULL JOIN (SELECT item_id, tag FROM datalane.item_tags WHERE workspace_id = app.workspace_id()) b
    ON a.item_id = b.item_id AND a.tag = b.tag
WHERE a.item_id IS NULL OR b.item_id IS NULL;

-- The values of indexed fields are those in the metadata, under the key of now or one of before, if of the field's type.
SELECT coalesce(a.item_id, b.item_id), a.field_id, a.value, b.value
FROM (SELECT i.item_id, d.field_id,
             CASE d.type WHEN 'number' THEN jsonb_build_object('v', (m.value::text)::float8)
                         WHEN 'date' THEN jsonb_build_object('v', (m.value #>> '{}')::timestamptz)
                         ELSE jsonb_build_object('v', m.value #>> '{}') END AS value
      FROM datalane.items i
      CROSS JOIN LATERAL jsonb_each(i.metadata) AS m (key, value)
      JOIN datalane.field_definitions d ON d.workspace_id = i.workspace_id AND d.index_state = 'ready'
          AND (d.key = m.key OR EXISTS (
              SELECT FROM datalane.field_aliases a
              WHERE a.workspace_id = d.workspace_id AND a.key = m.key AND a.field_id = d.field_id))
          AND CASE d.type
              WHEN 'number' THEN jsonb_typeof(m.value) = 'number' AND abs((m.value::text)::numeric) <= 9007199254740992
              WHEN 'boolean' THEN jsonb_typeof(m.value) = 'boolean'
              WHEN 'text' THEN jsonb_typeof(m.value) = 'string' AND length(m.value #>> '{}') <= 500
              ELSE jsonb_typeof(m.value) = 'string' AND pg_input_is_valid(m.value #>> '{}', 'timestamptz')
                  AND m.value #>> '{}' ~ '^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$' END
      WHERE i.workspace_id = app.workspace_id()) a
FULL JOIN (SELECT f.item_id, f.field_id,
                  CASE WHEN f.number_value IS NOT NULL THEN jsonb_build_object('v', f.number_value)
                       WHEN f.date_value IS NOT NULL THEN jsonb_build_object('v', f.date_value)
                       ELSE jsonb_build_object('v', f.text_value) END AS value
           FROM datalane.item_fields f
           JOIN datalane.field_definitions d ON d.workspace_id = f.workspace_id AND d.field_id = f.field_id
               AND d.index_state = 'ready'
           WHERE f.workspace_id = app.workspace_id()) b
    ON a.item_id = b.item_id AND a.field_id = b.field_id AND a.value = b.value
WHERE a.item_id IS NULL OR b.item_id IS NULL;

-- What is not indexed has no values in the index.
SELECT f.field_id, f.item_id FROM datalane.item_fields f
LEFT JOIN datalane.field_definitions d ON d.workspace_id = f.workspace_id AND d.field_id = f.field_id
WHERE f.workspace_id = app.workspace_id() AND coalesce(d.index_state, 'none') = 'none';

-- No key belongs to two fields, be it of now or of before.
SELECT key, count(*) FROM (
    SELECT key FROM datalane.field_definitions WHERE workspace_id = app.workspace_id()
    UNION ALL
    SELECT key FROM datalane.field_aliases WHERE workspace_id = app.workspace_id()) AS keys
GROUP BY key HAVING count(*) > 1;

-- An item has a field's value under one key.
SELECT i.item_id, k.field_id FROM datalane.items i
JOIN (SELECT field_id, key FROM datalane.field_definitions WHERE workspace_id = app.workspace_id()
      UNION ALL
      SELECT field_id, key FROM datalane.field_aliases WHERE workspace_id = app.workspace_id()) k ON i.metadata ? k.key
WHERE i.workspace_id = app.workspace_id() GROUP BY i.item_id, k.field_id HAVING count(*) > 1;

-- The words of an item are in its search entry, and no others.
SELECT i.item_id FROM datalane.items i
LEFT JOIN datalane.search_entries e ON e.workspace_id = i.workspace_id AND e.collection = 2 AND e.entry_id = i.item_id
WHERE i.workspace_id = app.workspace_id()
  AND ARRAY(SELECT hashtextextended(lexeme, 0) FROM unnest(to_tsvector('english', i.title || E'\n' || i.description)) ORDER BY 1)
      IS DISTINCT FROM ARRAY(SELECT unnest(e.term_ids) ORDER BY 1);

-- The postings of items are exactly the terms of their entries.
SELECT coalesce(e.entry_id, p.entry_id), e.term_id, p.term_id
FROM (SELECT entry_id, unnest(term_ids) AS term_id FROM datalane.search_entries
      WHERE workspace_id = app.workspace_id() AND collection = 2) e
FULL JOIN (SELECT entry_id, term_id FROM datalane.search_postings
           WHERE workspace_id = app.workspace_id() AND collection = 2) p
    ON p.entry_id = e.entry_id AND p.term_id = e.term_id
WHERE e.entry_id IS NULL OR p.entry_id IS NULL;

-- The timeline has one entry for each version of an item and of a project.
SELECT x.id, x.version, count(t.entry_id), max(t.entity_version)
FROM (SELECT 'item' AS type, item_id AS id, version FROM datalane.items WHERE workspace_id = app.workspace_id()
      UNION ALL
      SELECT 'project', project_id, version FROM datalane.projects WHERE workspace_id = app.workspace_id()) x
LEFT JOIN datalane.timeline t ON t.workspace_id = app.workspace_id() AND t.entity_type = x.type AND t.entity_id = x.id
GROUP BY x.id, x.version HAVING count(t.entry_id) <> x.version OR max(t.entity_version) <> x.version;

-- Each entry of the timeline has an event of the same correlation.
SELECT t.entry_id, t.entity_type, t.action, t.entity_version
FROM datalane.timeline t
LEFT JOIN datalane.events e ON e.workspace_id = t.workspace_id AND e.event_type = t.entity_type || '.' || t.action
    AND e.subject_id = t.entity_id::text AND (e.payload ->> 'version')::bigint = t.entity_version
    AND e.correlation_id = t.correlation_id
WHERE t.workspace_id = app.workspace_id() AND e.event_id IS NULL;

-- No item that is seen belongs to a project that is deleted.
SELECT i.item_id FROM datalane.items i
JOIN datalane.projects p ON p.workspace_id = i.workspace_id AND p.project_id = i.project_id
WHERE i.workspace_id = app.workspace_id() AND i.deleted_at IS NULL AND p.deleted_at IS NOT NULL;
