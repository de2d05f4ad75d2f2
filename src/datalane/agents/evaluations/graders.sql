-- What graders read of a run.

-- name: list_found(workspace_id, run_id, tool_name)
-- The documents that calls of a search have found, in the order of the calls and of what each has found. A call that found nothing has a
-- row with nulls.
SELECT f.chunk ->> 'document_id' AS document_id, f.chunk ->> 'source_uri' AS source_uri
FROM datalane.tool_calls c
LEFT JOIN LATERAL jsonb_array_elements(
    CASE jsonb_typeof(c.result -> 'chunks') WHEN 'array' THEN c.result -> 'chunks' ELSE '[]' END)
    WITH ORDINALITY AS f (chunk, place) ON true
WHERE c.workspace_id = :workspace_id AND c.run_id = :run_id AND c.tool_name = :tool_name AND c.status = 'succeeded'
ORDER BY c.ordinal, f.place;
