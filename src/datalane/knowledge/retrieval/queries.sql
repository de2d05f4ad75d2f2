-- name: search_semantic(workspace_id, model_version, embedding, most)
-- Exact search over the workspace's vectors of one model. Vectors have length 1, so the inner product is the cosine.
SELECT chunk_id, -(embedding OPERATOR(public.<#>) :embedding::public.vector) AS score
FROM datalane.chunk_vectors
WHERE workspace_id = :workspace_id AND model_version = :model_version
ORDER BY embedding OPERATOR(public.<#>) :embedding::public.vector, chunk_id LIMIT :most;

-- name: read_chunks(workspace_id, chunk_ids)
-- Chunks with where they come from. Only current versions are shown. OFFSET 0 fixes the plan: by primary key.
SELECT c.workspace_id, c.document_id, c.version_id, c.chunk_id, d.source_uri, coalesce(v.title, d.title) AS source_title,
       c.start_offset, c.end_offset, c.start_byte, c.end_byte, c.page, c.text, v.embedding_model_version, v.indexed_at
FROM unnest(:chunk_ids::uuid[]) AS wanted (chunk_id)
CROSS JOIN LATERAL (
    SELECT workspace_id, document_id, version_id, chunk_id, start_offset, end_offset, start_byte, end_byte, page, text
    FROM datalane.chunks WHERE workspace_id = :workspace_id AND chunk_id = wanted.chunk_id OFFSET 0) AS c
CROSS JOIN LATERAL (
    SELECT source_uri, title, current_version_id
    FROM datalane.documents WHERE workspace_id = :workspace_id AND document_id = c.document_id OFFSET 0) AS d
CROSS JOIN LATERAL (
    SELECT title, embedding_model_version, indexed_at
    FROM datalane.document_versions WHERE workspace_id = :workspace_id AND version_id = c.version_id OFFSET 0) AS v
WHERE d.current_version_id = c.version_id;
