-- name: add_response(workspace_id, response_id, agent_run_id, question, answer_model_version, fallback, actor_id, correlation_id)!
-- An answer given to someone.
INSERT INTO datalane.responses (workspace_id, response_id, agent_run_id, question, answer_model_version, fallback,
                                actor_id, correlation_id)
VALUES (:workspace_id, :response_id, :agent_run_id, :question, :answer_model_version, :fallback, :actor_id, :correlation_id);

-- name: add_segments(workspace_id, response_id, segment_ids, ordinals, starts, ends, texts)!
-- Its segments in order; offsets are characters of the whole answer.
INSERT INTO datalane.response_segments (workspace_id, response_segment_id, response_id, ordinal, start_offset, end_offset, text)
SELECT :workspace_id, i.id, :response_id, i.ordinal, i.start_at, i.end_at, i.body
FROM unnest(:segment_ids::uuid[], :ordinals::integer[], :starts::integer[], :ends::integer[], :texts::text[])
    AS i (id, ordinal, start_at, end_at, body);

-- name: read_cited(workspace_id, chunk_ids)
-- Chunks that are about to be cited.
SELECT c.chunk_id, c.document_id, c.version_id, c.start_offset, c.end_offset, c.text,
       v.embedding_model_version AS ingested_model_version,
       coalesce((SELECT model_version FROM datalane.embedding_models WHERE workspace_id = :workspace_id AND status = 'active'),
                v.embedding_model_version) AS embedding_model_version
FROM datalane.chunks c
JOIN datalane.document_versions v ON v.workspace_id = c.workspace_id AND v.version_id = c.version_id
WHERE c.workspace_id = :workspace_id AND c.chunk_id = ANY (:chunk_ids::uuid[]);

-- name: list_models(workspace_id)
-- The models that the workspace registered, with those that it retired.
SELECT model_version FROM datalane.embedding_models WHERE workspace_id = :workspace_id;

-- name: add_citations(workspace_id, response_id, agent_run_id, answer_model_version, citation_ids, segment_ids, document_ids, version_ids, chunk_ids, starts, ends, sha256s, evidence_types, scores, bands, calibration_ids, model_versions)!
-- The evidence of a response.
INSERT INTO datalane.citations (workspace_id, citation_id, response_id, response_segment_id, agent_run_id, document_id,
                                version_id, chunk_id, quote_start_offset, quote_end_offset, quote_sha256, evidence_type,
                                confidence_score, confidence_band, calibration_id, embedding_model_version,
                                answer_model_version)
SELECT :workspace_id, i.id, :response_id, i.segment, :agent_run_id, i.document, i.version, i.chunk, i.start_at, i.end_at,
       i.sha256, i.evidence, i.score, i.band, i.calibration, i.model, :answer_model_version
FROM unnest(:citation_ids::uuid[], :segment_ids::uuid[], :document_ids::uuid[], :version_ids::uuid[], :chunk_ids::uuid[],
            :starts::integer[], :ends::integer[], :sha256s::bytea[], :evidence_types::text[], :scores::float8[],
            :bands::text[], :calibration_ids::uuid[], :model_versions::text[])
    AS i (id, segment, document, version, chunk, start_at, end_at, sha256, evidence, score, band, calibration, model);

-- name: get_response(workspace_id, response_id)^
-- One response.
SELECT response_id, agent_run_id, question, answer_model_version, fallback, created_at, correlation_id
FROM datalane.responses WHERE workspace_id = :workspace_id AND response_id = :response_id;

-- name: list_segments(workspace_id, response_id)
-- Its segments in order.
SELECT response_segment_id, ordinal, start_offset, end_offset, text
FROM datalane.response_segments WHERE workspace_id = :workspace_id AND response_id = :response_id ORDER BY ordinal;

-- name: list_citations(workspace_id, response_id, citation_id, most)
-- Citations with the text they point at as it is stored now: in the chunk, and in the version's canonical text. The page is
-- the quote's own, the heading stands above its chunk.
SELECT c.citation_id, c.response_id, c.agent_run_id, c.response_segment_id, s.start_offset AS segment_start_offset,
       s.end_offset AS segment_end_offset, c.document_id, c.version_id, c.chunk_id, c.quote_start_offset,
       c.quote_end_offset, c.quote_sha256, c.evidence_type, c.confidence_score, c.confidence_band,
       c.calibration_id, c.workspace_id,
       c.embedding_model_version, c.answer_model_version, c.created_at, d.source_uri,
       coalesce(v.title, d.title) AS source_title, v.ordinal AS version, v.version_id = d.current_version_id AS is_current,
       substr(v.canonical_text, c.quote_start_offset + 1, c.quote_end_offset - c.quote_start_offset) AS quote,
       substr(k.text, c.quote_start_offset - k.start_offset + 1, c.quote_end_offset - c.quote_start_offset) AS chunk_quote,
       k.start_offset AS chunk_start_offset, k.end_offset AS chunk_end_offset, k.heading,
       nullif(width_bucket(c.quote_start_offset, v.page_starts), 0) AS page
FROM datalane.citations c
JOIN datalane.response_segments s ON s.workspace_id = c.workspace_id AND s.response_segment_id = c.response_segment_id
LEFT JOIN datalane.documents d ON d.workspace_id = c.workspace_id AND d.document_id = c.document_id
LEFT JOIN datalane.document_versions v ON v.workspace_id = c.workspace_id AND v.version_id = c.version_id
LEFT JOIN datalane.chunks k ON k.workspace_id = c.workspace_id AND k.chunk_id = c.chunk_id
WHERE c.workspace_id = :workspace_id
  AND (:response_id::uuid IS NULL OR c.response_id = :response_id)
  AND (:citation_id::uuid IS NULL OR c.citation_id = :citation_id)
ORDER BY s.ordinal, c.quote_start_offset, c.citation_id LIMIT :most;
