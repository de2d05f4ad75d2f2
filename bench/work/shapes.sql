-- The shapes of the query API as somebody writes them by hand who knows the tables. Of a short one `page_of` makes the
-- statement: a page of 26 rows (the last one says that there are more), and a count that stops where ours does. A long
-- one is the whole statement. `{columns}` are those of an item `i`.

-- shape: sort -updated_at
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: sort updated_at
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL
ORDER BY i.updated_at, i.item_id

-- shape: sort -created_at
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL
ORDER BY i.created_at DESC, i.item_id DESC

-- shape: sort created_at
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL
ORDER BY i.created_at, i.item_id

-- shape: sort -priority
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL
ORDER BY i.priority DESC, i.item_id DESC

-- shape: sort priority
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL
ORDER BY i.priority, i.item_id

-- shape: status
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.status = 'active'
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: status in
FROM datalane.items i
WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.status IN ('draft', 'active')
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: project
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.project_id = :project_id
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: no project
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.project_id IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: assignee
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.assignee_id = :assignee_id
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: assignee in
FROM datalane.items i
WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.assignee_id IN (:assignee_id, :created_by)
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: unassigned
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.assignee_id IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: created by
FROM datalane.items i
WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.created_by_actor_id = :created_by
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: priority
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.priority = 4
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: priority in
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.priority IN (0, 4)
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: priority at least
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.priority >= 3
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: created since
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.created_at >= :since
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: created between
FROM datalane.items i
WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.created_at >= :since AND i.created_at < :until
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: created until
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.created_at < :since
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: made between by priority
FROM datalane.items i
WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.created_at >= :since AND i.created_at < :until
ORDER BY i.priority DESC, i.item_id DESC

-- shape: active made between
FROM datalane.items i
WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.status = 'active'
  AND i.created_at >= :since AND i.created_at < :until
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: changed between by creation
FROM datalane.items i
WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.updated_at > :since AND i.updated_at < :until
ORDER BY i.created_at DESC, i.item_id DESC

-- shape: updated until
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.updated_at <= :since
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: updated between
FROM datalane.items i
WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.updated_at > :since AND i.updated_at < :until
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: common tag
FROM datalane.item_tags t JOIN datalane.items i ON i.workspace_id = t.workspace_id AND i.item_id = t.item_id
WHERE t.workspace_id = :workspace_id AND t.tag = :first_tag AND i.deleted_at IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: rare tag
FROM datalane.item_tags t JOIN datalane.items i ON i.workspace_id = t.workspace_id AND i.item_id = t.item_id
WHERE t.workspace_id = :workspace_id AND t.tag = :last_tag AND i.deleted_at IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: tags any
FROM datalane.items i
WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND EXISTS (
    SELECT FROM datalane.item_tags t
    WHERE t.workspace_id = i.workspace_id AND t.item_id = i.item_id AND t.tag = ANY (:tags))
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: tags all
FROM datalane.item_tags t JOIN datalane.item_tags u ON u.workspace_id = t.workspace_id AND u.item_id = t.item_id
JOIN datalane.items i ON i.workspace_id = t.workspace_id AND i.item_id = t.item_id
WHERE t.workspace_id = :workspace_id AND t.tag = :first_tag AND u.tag = :second_tag AND i.deleted_at IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: word
WITH hits AS MATERIALIZED (
    SELECT p.entry_id FROM datalane.search_postings p
    WHERE p.workspace_id = :workspace_id AND p.collection = 2
      AND p.term_id = hashtextextended((ts_lexize('english_stem', :first_word))[1], 0)
    ORDER BY p.entry_id DESC LIMIT 10000
), matched AS MATERIALIZED (
    SELECT {columns} FROM hits h JOIN datalane.items i ON i.workspace_id = :workspace_id AND i.item_id = h.entry_id
    WHERE i.deleted_at IS NULL
)
SELECT {columns}, (SELECT count(*) FROM matched) AS total_count FROM matched i
ORDER BY i.updated_at DESC, i.item_id DESC LIMIT 26

-- shape: words
WITH one AS MATERIALIZED (
    SELECT p.entry_id FROM datalane.search_postings p
    WHERE p.workspace_id = :workspace_id AND p.collection = 2
      AND p.term_id = hashtextextended((ts_lexize('english_stem', :first_word))[1], 0)
), other AS MATERIALIZED (
    SELECT p.entry_id FROM datalane.search_postings p
    WHERE p.workspace_id = :workspace_id AND p.collection = 2
      AND p.term_id = hashtextextended((ts_lexize('english_stem', :second_word))[1], 0)
), hits AS MATERIALIZED (
    SELECT entry_id FROM one INTERSECT SELECT entry_id FROM other
), matched AS MATERIALIZED (
    SELECT {columns} FROM hits h CROSS JOIN LATERAL (
        SELECT {columns} FROM datalane.items i
        WHERE i.workspace_id = :workspace_id AND i.item_id = h.entry_id AND i.deleted_at IS NULL OFFSET 0) AS i
)
SELECT {columns}, (SELECT count(*) FROM matched) AS total_count FROM matched i
ORDER BY i.updated_at DESC, i.item_id DESC LIMIT 26

-- shape: deleted
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NOT NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: text field
FROM datalane.item_fields f JOIN datalane.items i ON i.workspace_id = f.workspace_id AND i.item_id = f.item_id
WHERE f.workspace_id = :workspace_id AND f.field_id = :text_field AND f.text_value = :text_value AND i.deleted_at IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: text field in
FROM datalane.item_fields f JOIN datalane.items i ON i.workspace_id = f.workspace_id AND i.item_id = f.item_id
WHERE f.workspace_id = :workspace_id AND f.field_id = :text_field AND f.text_value IN (:text_value)
  AND i.deleted_at IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: text field at least
FROM datalane.item_fields f JOIN datalane.items i ON i.workspace_id = f.workspace_id AND i.item_id = f.item_id
WHERE f.workspace_id = :workspace_id AND f.field_id = :text_field AND f.text_value >= :text_value AND i.deleted_at IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: number field
FROM datalane.item_fields f JOIN datalane.items i ON i.workspace_id = f.workspace_id AND i.item_id = f.item_id
WHERE f.workspace_id = :workspace_id AND f.field_id = :number_field AND f.number_value = :number_value
  AND i.deleted_at IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: number field in
FROM datalane.item_fields f JOIN datalane.items i ON i.workspace_id = f.workspace_id AND i.item_id = f.item_id
WHERE f.workspace_id = :workspace_id AND f.field_id = :number_field AND f.number_value IN (:number_value)
  AND i.deleted_at IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: number field at least
FROM datalane.item_fields f JOIN datalane.items i ON i.workspace_id = f.workspace_id AND i.item_id = f.item_id
WHERE f.workspace_id = :workspace_id AND f.field_id = :number_field AND f.number_value >= :number_value
  AND i.deleted_at IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: date field
FROM datalane.item_fields f JOIN datalane.items i ON i.workspace_id = f.workspace_id AND i.item_id = f.item_id
WHERE f.workspace_id = :workspace_id AND f.field_id = :date_field AND f.date_value = :date_value AND i.deleted_at IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: date field in
FROM datalane.item_fields f JOIN datalane.items i ON i.workspace_id = f.workspace_id AND i.item_id = f.item_id
WHERE f.workspace_id = :workspace_id AND f.field_id = :date_field AND f.date_value IN (:date_value)
  AND i.deleted_at IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: date field at least
FROM datalane.item_fields f JOIN datalane.items i ON i.workspace_id = f.workspace_id AND i.item_id = f.item_id
WHERE f.workspace_id = :workspace_id AND f.field_id = :date_field AND f.date_value >= :date_value AND i.deleted_at IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: my open work
FROM datalane.items i
WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.assignee_id = :assignee_id AND i.status = 'active'
ORDER BY i.priority DESC, i.item_id DESC

-- shape: a project's open work
FROM datalane.items i
WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.project_id = :project_id AND i.status = 'active'
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: urgent and unassigned
FROM datalane.items i
WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NULL AND i.assignee_id IS NULL AND i.priority >= 3
ORDER BY i.created_at DESC, i.item_id DESC

-- shape: tag and status
FROM datalane.item_tags t JOIN datalane.items i ON i.workspace_id = t.workspace_id AND i.item_id = t.item_id
WHERE t.workspace_id = :workspace_id AND t.tag = :first_tag AND i.deleted_at IS NULL AND i.status = 'active'
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: tag by priority
FROM datalane.item_tags t JOIN datalane.items i ON i.workspace_id = t.workspace_id AND i.item_id = t.item_id
WHERE t.workspace_id = :workspace_id AND t.tag = :first_tag AND i.deleted_at IS NULL
ORDER BY i.priority DESC, i.item_id DESC

-- shape: tags of a project
FROM datalane.item_tags t JOIN datalane.item_tags u ON u.workspace_id = t.workspace_id AND u.item_id = t.item_id
JOIN datalane.items i ON i.workspace_id = t.workspace_id AND i.item_id = t.item_id
WHERE t.workspace_id = :workspace_id AND t.tag = :first_tag AND u.tag = :second_tag AND i.deleted_at IS NULL
  AND i.project_id = :project_id
ORDER BY i.created_at DESC, i.item_id DESC

-- shape: word in active
WITH hits AS MATERIALIZED (
    SELECT p.entry_id FROM datalane.search_postings p
    WHERE p.workspace_id = :workspace_id AND p.collection = 2
      AND p.term_id = hashtextextended((ts_lexize('english_stem', :first_word))[1], 0)
    ORDER BY p.entry_id DESC LIMIT 10000
), matched AS MATERIALIZED (
    SELECT {columns} FROM hits h JOIN datalane.items i ON i.workspace_id = :workspace_id AND i.item_id = h.entry_id
    WHERE i.deleted_at IS NULL AND i.status = 'active'
)
SELECT {columns}, (SELECT count(*) FROM matched) AS total_count FROM matched i
ORDER BY i.updated_at DESC, i.item_id DESC LIMIT 26

-- shape: word and tag
WITH hits AS MATERIALIZED (
    SELECT p.entry_id FROM datalane.search_postings p
    WHERE p.workspace_id = :workspace_id AND p.collection = 2
      AND p.term_id = hashtextextended((ts_lexize('english_stem', :first_word))[1], 0)
    ORDER BY p.entry_id DESC LIMIT 10000
), matched AS MATERIALIZED (
    SELECT {columns} FROM hits h
    JOIN datalane.item_tags t ON t.workspace_id = :workspace_id AND t.tag = :first_tag AND t.item_id = h.entry_id
    JOIN datalane.items i ON i.workspace_id = :workspace_id AND i.item_id = h.entry_id
    WHERE i.deleted_at IS NULL
)
SELECT {columns}, (SELECT count(*) FROM matched) AS total_count FROM matched i
ORDER BY i.priority DESC, i.item_id DESC LIMIT 26

-- shape: deleted since
FROM datalane.items i WHERE i.workspace_id = :workspace_id AND i.deleted_at IS NOT NULL AND i.updated_at >= :since
ORDER BY i.created_at DESC, i.item_id DESC

-- shape: field and status
FROM datalane.item_fields f JOIN datalane.items i ON i.workspace_id = f.workspace_id AND i.item_id = f.item_id
WHERE f.workspace_id = :workspace_id AND f.field_id = :number_field AND f.number_value >= :number_value
  AND i.deleted_at IS NULL AND i.status = 'active'
ORDER BY i.updated_at DESC, i.item_id DESC

-- shape: field by creation
FROM datalane.item_fields f JOIN datalane.items i ON i.workspace_id = f.workspace_id AND i.item_id = f.item_id
WHERE f.workspace_id = :workspace_id AND f.field_id = :number_field AND f.number_value <= :number_value
  AND i.deleted_at IS NULL
ORDER BY i.created_at, i.item_id

-- shape: field and tag
FROM datalane.item_fields f
JOIN datalane.item_tags t ON t.workspace_id = f.workspace_id AND t.item_id = f.item_id
JOIN datalane.items i ON i.workspace_id = f.workspace_id AND i.item_id = f.item_id
WHERE f.workspace_id = :workspace_id AND f.field_id = :text_field AND f.text_value = :text_value
  AND t.tag = :first_tag AND i.deleted_at IS NULL
ORDER BY i.updated_at DESC, i.item_id DESC
