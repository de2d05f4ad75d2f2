-- name: search_semantic(workspace_id, model_version, embedding, most)
-- Exact search over the workspace's vectors of one model. Vectors have length 1, so the inner product is the cosine.
SELECT chunk_id, -(embedding OPERATOR(public.<#>) :embedding::public.vector) AS score
FROM datalane.chunk_vectors
WHERE workspace_id = :workspace_id AND model_version = :model_version
ORDER BY embedding OPERATOR(public.<#>) :embedding::public.vector, chunk_id LIMIT :most;

-- name: read_chunks(workspace_id, chunk_ids)
-- Chunks with where they come from. Only current versions are shown.
SELECT c.workspace_id, c.document_id, c.version_id, c.chunk_id, d.source_uri, coalesce(v.title, d.title) AS source_title,
       c.start_offset, c.end_offset, c.start_byte, c.end_byte, c.page, c.text, v.embedding_model_version, v.indexed_at
FROM unnest(:chunk_ids::uuid[]) AS wanted (chunk_id)
JOIN datalane.chunks c ON c.workspace_id = :workspace_id AND c.chunk_id = wanted.chunk_id
JOIN datalane.documents d ON d.workspace_id = c.workspace_id AND d.document_id = c.document_id
    AND d.current_version_id = c.version_id
JOIN datalane.document_versions v ON v.workspace_id = c.workspace_id AND v.version_id = c.version_id;
