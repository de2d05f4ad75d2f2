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

-- name: find_chunk_feedback(workspace_id, id)^
-- Feedback on a chunk.
SELECT chunk_id, question, created_at, actor_id, correlation_id FROM datalane.feedback
WHERE workspace_id = :workspace_id AND feedback_id = :id AND chunk_id IS NOT NULL;

-- name: get_chunk(workspace_id, chunk_id)^
-- One chunk, the text that stands in its place now, and the models that it has vectors of.
SELECT k.version_id, d.source_uri, coalesce(v.title, d.title) AS source_title, k.start_offset, k.end_offset, k.start_byte,
       k.end_byte, k.page, k.heading, k.text,
       substr(v.canonical_text, k.start_offset + 1, k.end_offset - k.start_offset) AS stored,
       octet_length(substr(v.canonical_text, 1, k.start_offset)) AS bytes_before,
       ARRAY(SELECT w.model_version FROM datalane.chunk_vectors w
             WHERE w.workspace_id = :workspace_id AND w.chunk_id = k.chunk_id ORDER BY w.model_version) AS embedded_by
FROM datalane.chunks k
JOIN datalane.documents d ON d.workspace_id = k.workspace_id AND d.document_id = k.document_id
JOIN datalane.document_versions v ON v.workspace_id = k.workspace_id AND v.version_id = k.version_id
WHERE k.workspace_id = :workspace_id AND k.chunk_id = :chunk_id;

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
