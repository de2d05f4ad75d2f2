-- name: find_response(workspace_id, id)$
-- The response that an id leads to: its own, or that of a citation or of feedback on either.
SELECT response_id FROM datalane.responses WHERE workspace_id = :workspace_id AND response_id = :id
UNION ALL
SELECT response_id FROM datalane.citations WHERE workspace_id = :workspace_id AND citation_id = :id
UNION ALL
SELECT coalesce(f.response_id, c.response_id) FROM datalane.feedback f
LEFT JOIN datalane.citations c ON c.workspace_id = f.workspace_id AND c.citation_id = f.citation_id
WHERE f.workspace_id = :workspace_id AND f.feedback_id = :id AND f.chunk_id IS NULL
LIMIT 1;

-- name: get_response(workspace_id, response_id)^
-- One response with who gave it.
SELECT response_id, question, fallback, answer_model_version, agent_run_id, created_at, actor_id, correlation_id
FROM datalane.responses WHERE workspace_id = :workspace_id AND response_id = :response_id;

-- name: list_segments(workspace_id, response_id)
-- Its segments in order.
SELECT response_segment_id, start_offset, end_offset, text FROM datalane.response_segments
WHERE workspace_id = :workspace_id AND response_id = :response_id ORDER BY ordinal;

-- name: locate_quotes(workspace_id, response_id)
-- Where the quotes of a response stand: their bytes in the canonical text.
SELECT c.citation_id, c.quote_sha256, k.start_byte + q.before AS quote_start_byte,
       k.start_byte + q.before + q.length AS quote_end_byte
FROM datalane.citations c
LEFT JOIN datalane.chunks k ON k.workspace_id = c.workspace_id AND k.chunk_id = c.chunk_id
LEFT JOIN LATERAL (
    SELECT octet_length(substr(k.text, 1, greatest(0, c.quote_start_offset - k.start_offset))) AS before,
           octet_length(substr(k.text, c.quote_start_offset - k.start_offset + 1,
                               c.quote_end_offset - c.quote_start_offset)) AS length) AS q ON true
WHERE c.workspace_id = :workspace_id AND c.response_id = :response_id;

-- name: list_versions(workspace_id, version_ids)
-- The versions that are cited, and what made them.
SELECT v.version_id, v.document_id, v.ordinal AS version, v.version_id = d.current_version_id AS is_current, v.filename,
       v.media_type, v.size_bytes, v.content_sha256, v.parser_version, v.chunker_version, v.embedding_model_version,
       v.search_language, v.indexed_at, v.job_id AS ingestion_job_id
FROM datalane.document_versions v
JOIN datalane.documents d ON d.workspace_id = v.workspace_id AND d.document_id = v.document_id
WHERE v.workspace_id = :workspace_id AND v.version_id = ANY (:version_ids::uuid[]);
