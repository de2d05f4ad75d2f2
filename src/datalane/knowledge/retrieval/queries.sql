-- name: search_semantic(workspace_id, model_version, embedding, most)
-- Exact search over the workspace's vectors of one model. Vectors have length 1, so the inner product is the cosine.
SELECT chunk_id, -(embedding OPERATOR(public.<#>) :embedding::public.vector) AS score
FROM datalane.chunk_vectors
WHERE workspace_id = :workspace_id AND model_version = :model_version
ORDER BY embedding OPERATOR(public.<#>) :embedding::public.vector, chunk_id LIMIT :most;

-- name: search_own_index(workspace_id, model_version, dimensions, effort, embedding, most)
-- The nearest vectors by an index that has this workspace's alone, as of this model.
SELECT chunk_id, score
FROM datalane.nearest_chunks(:workspace_id, :model_version, :dimensions, :effort, :embedding::public.vector, :most);

-- name: read_chunks(workspace_id, chunk_ids)
-- Chunks with where they come from. Only current versions are shown. OFFSET 0 fixes the plan: by primary key.
SELECT c.workspace_id, c.document_id, c.version_id, c.chunk_id, d.source_uri, coalesce(v.title, d.title) AS source_title,
       c.start_offset, c.end_offset, c.start_byte, c.end_byte, c.page, c.heading, c.text, v.indexed_at,
       coalesce((SELECT model_version FROM datalane.embedding_models WHERE workspace_id = :workspace_id AND status = 'active'),
                v.embedding_model_version) AS embedding_model_version
FROM unnest(:chunk_ids::uuid[]) AS wanted (chunk_id)
CROSS JOIN LATERAL (
    SELECT workspace_id, document_id, version_id, chunk_id, start_offset, end_offset, start_byte, end_byte, page, heading, text
    FROM datalane.chunks WHERE workspace_id = :workspace_id AND chunk_id = wanted.chunk_id OFFSET 0) AS c
CROSS JOIN LATERAL (
    SELECT source_uri, title, current_version_id
    FROM datalane.documents WHERE workspace_id = :workspace_id AND document_id = c.document_id OFFSET 0) AS d
CROSS JOIN LATERAL (
    SELECT title, embedding_model_version, indexed_at
    FROM datalane.document_versions WHERE workspace_id = :workspace_id AND version_id = c.version_id OFFSET 0) AS v
WHERE d.current_version_id = c.version_id;

-- name: admitted_chunks(workspace_id, any_tag, all_tags, metadata, document_ids, source_uris)$
-- Current chunks of the documents that filters let through, as one array.
SELECT coalesce(array_agg(c.chunk_id), '{}') FROM datalane.documents d
JOIN datalane.chunks c ON c.workspace_id = d.workspace_id AND c.version_id = d.current_version_id
WHERE d.workspace_id = :workspace_id AND (:any_tag::text[] IS NULL OR d.tags && :any_tag::text[])
  AND (:all_tags::text[] IS NULL OR d.tags @> :all_tags::text[])
  AND (:metadata::jsonb IS NULL OR d.metadata @> :metadata::jsonb)
  AND (:document_ids::uuid[] IS NULL OR d.document_id = ANY (:document_ids::uuid[]))
  AND (:source_uris::text[] IS NULL OR d.source_uri = ANY (:source_uris::text[]));

-- name: search_semantic_among(workspace_id, model_version, embedding, among, most)
-- As search_semantic, of these chunks only.
SELECT chunk_id, -(embedding OPERATOR(public.<#>) :embedding::public.vector) AS score
FROM datalane.chunk_vectors
WHERE workspace_id = :workspace_id AND model_version = :model_version AND chunk_id = ANY (:among::uuid[])
ORDER BY embedding OPERATOR(public.<#>) :embedding::public.vector, chunk_id LIMIT :most;

-- name: read_surroundings(workspace_id, chunk_ids, steps)
-- Chunks with so many before and after them, as one piece of their version's text.
SELECT c.chunk_id, s.start_offset, s.end_offset, v.body
FROM unnest(:chunk_ids::uuid[]) AS wanted (chunk_id)
JOIN datalane.chunks c ON c.workspace_id = :workspace_id AND c.chunk_id = wanted.chunk_id
CROSS JOIN LATERAL (
    SELECT min(n.start_offset) AS start_offset, max(n.end_offset) AS end_offset FROM datalane.chunks n
    WHERE n.workspace_id = :workspace_id AND n.version_id = c.version_id
      AND n.ordinal BETWEEN c.ordinal - :steps::integer AND c.ordinal + :steps::integer) AS s
CROSS JOIN LATERAL (
    SELECT substr(canonical_text, s.start_offset + 1, s.end_offset - s.start_offset) AS body
    FROM datalane.document_versions WHERE workspace_id = :workspace_id AND version_id = c.version_id) AS v;

-- name: log_retrieval(question, method, filtered, results, best_score, missed, model, milliseconds, language, keyword_weight, calibration_id, release)$
-- Keep what was asked.
SELECT datalane.log_retrieval(:question, :method, :filtered, :results, :best_score, :missed, :model, :milliseconds, :language,
                              :keyword_weight, :calibration_id, :release);

-- name: list_log(workspace_id, missed, before, page_size)
-- What was asked, the newest first.
SELECT query_id, question, method, filtered, found, best_score, missed, embedding_model_version, search_language,
       keyword_weight, calibration_id, datalane_version, milliseconds, asked_at, correlation_id
FROM datalane.retrieval_log
WHERE workspace_id = :workspace_id AND (:missed::boolean IS NULL OR missed = :missed)
  AND (:before::uuid IS NULL OR query_id < :before)
ORDER BY query_id DESC LIMIT :page_size;
