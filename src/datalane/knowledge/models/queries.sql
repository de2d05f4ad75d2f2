-- name: lock_changes(workspace_id)$
-- Changes of the models of a workspace happen in turn.
SELECT pg_advisory_xact_lock(hashtextextended((:workspace_id::uuid)::text, 5));

-- name: lock_models(workspace_id)$
-- Nobody writes vectors until the transaction ends. The key is that of hold_embedding_models.
SELECT pg_advisory_xact_lock(hashtextextended((:workspace_id::uuid)::text, 4));

-- name: hold_models(usual)
-- The models that vectors are made by, unchanged until the transaction ends.
SELECT model_version, status FROM datalane.hold_embedding_models(:usual);

-- name: get_searched(workspace_id, usual)^
-- The model that is searched, with what its index of this workspace needs if one is ready.
SELECT a.model_version, x.dimensions, x.ef_search
FROM (SELECT coalesce(
    (SELECT model_version FROM datalane.embedding_models WHERE workspace_id = :workspace_id AND status = 'active'),
    datalane.implicit_embedding_model(:usual)) AS model_version) AS a
LEFT JOIN datalane.vector_indexes x
    ON x.workspace_id = :workspace_id AND x.model_version = a.model_version AND x.status = 'ready';

-- name: get_model(workspace_id, model_version)^
-- One model.
SELECT model_version, status, updated_at FROM datalane.embedding_models
WHERE workspace_id = :workspace_id AND model_version = :model_version;

-- name: list_models(workspace_id)
-- The registered models with the jobs that fill them.
SELECT m.model_version, m.provider, m.name, m.version, m.dimensions, m.distance, m.status, m.created_at, m.updated_at,
       m.created_by_actor_id, j.id AS job_id, j.status AS job_status, j.attempt_count, j.last_error_class, j.last_error_message, j.next_retry_at
FROM datalane.embedding_models m
LEFT JOIN datalane.jobs j ON j.workspace_id = m.workspace_id AND j.id = m.backfill_job_id
WHERE m.workspace_id = :workspace_id ORDER BY m.created_at, m.model_version;

-- name: count_vectors(workspace_id)
-- Vectors of each model.
SELECT model_version, count(*) AS chunks FROM datalane.chunk_vectors
WHERE workspace_id = :workspace_id GROUP BY model_version;

-- name: list_indexes(workspace_id)
-- The workspace's own indexes.
SELECT model_version, status, recall, measured_at FROM datalane.vector_indexes WHERE workspace_id = :workspace_id;

-- name: count_current(workspace_id)$
-- Chunks of current versions.
SELECT count(*) FROM datalane.documents d
JOIN datalane.chunks c ON c.workspace_id = d.workspace_id AND c.version_id = d.current_version_id
WHERE d.workspace_id = :workspace_id;

-- name: get_dimensions(workspace_id, model_version)$
-- Of the vectors of a model that are there; null when there are none.
SELECT public.vector_dims(embedding) FROM datalane.chunk_vectors
WHERE workspace_id = :workspace_id AND model_version = :model_version LIMIT 1;

-- name: put_model(workspace_id, model_version, provider, name, version, dimensions, status, now, actor_id)!
-- A model that is registered, for the first time or again.
INSERT INTO datalane.embedding_models (workspace_id, model_version, provider, name, version, dimensions, status, created_at,
                                       updated_at, created_by_actor_id)
VALUES (:workspace_id, :model_version, :provider, :name, :version, :dimensions, :status, :now, :now, :actor_id)
ON CONFLICT (workspace_id, model_version) DO UPDATE SET status = EXCLUDED.status, updated_at = EXCLUDED.updated_at;

-- name: move_model(workspace_id, model_version, sources, target, now)!
-- Another state of a model that is in one of `sources`.
UPDATE datalane.embedding_models SET status = :target, updated_at = :now
WHERE workspace_id = :workspace_id AND model_version = :model_version AND status = ANY (:sources::text[]);

-- name: set_backfill(workspace_id, model_version, job_id)!
-- The job that fills a model from now on.
UPDATE datalane.embedding_models SET backfill_job_id = :job_id
WHERE workspace_id = :workspace_id AND model_version = :model_version;

-- name: demote_active(workspace_id, now)!
-- The model that is searched no longer.
UPDATE datalane.embedding_models SET status = 'ready', updated_at = :now
WHERE workspace_id = :workspace_id AND status = 'active';

-- name: is_missing(workspace_id, model_version)$
-- Whether a current chunk has no vector of a model.
SELECT EXISTS (
    SELECT FROM datalane.documents d
    JOIN datalane.chunks c ON c.workspace_id = d.workspace_id AND c.version_id = d.current_version_id
    WHERE d.workspace_id = :workspace_id AND NOT EXISTS (
        SELECT FROM datalane.chunk_vectors v
        WHERE v.workspace_id = :workspace_id AND v.model_version = :model_version AND v.chunk_id = c.chunk_id));

-- name: next_chunks(workspace_id, model_version, following, most)
-- The next current chunks by id that have no vector of a model.
SELECT c.chunk_id, c.document_id, c.text, v.title FROM datalane.chunks c
JOIN datalane.documents d ON d.workspace_id = c.workspace_id AND d.document_id = c.document_id
JOIN datalane.document_versions v ON v.workspace_id = c.workspace_id AND v.version_id = c.version_id
WHERE c.workspace_id = :workspace_id AND c.chunk_id > :following AND d.current_version_id = c.version_id
  AND NOT EXISTS (SELECT FROM datalane.chunk_vectors w
                  WHERE w.workspace_id = :workspace_id AND w.model_version = :model_version AND w.chunk_id = c.chunk_id)
ORDER BY c.chunk_id LIMIT :most;

-- name: hold_documents(workspace_id, document_ids)
-- Documents that take no new version until the transaction ends, always locked in the same order.
SELECT document_id FROM datalane.documents
WHERE workspace_id = :workspace_id AND document_id = ANY (:document_ids::uuid[]) ORDER BY document_id FOR SHARE;

-- name: fill_vectors(workspace_id, model_version, chunk_ids, embeddings)!
-- Vectors of chunks that are current still, where there are none yet.
INSERT INTO datalane.chunk_vectors (workspace_id, model_version, chunk_id, embedding)
SELECT :workspace_id, :model_version, i.chunk, i.embedding
FROM unnest(:chunk_ids::uuid[], :embeddings::public.vector[]) AS i (chunk, embedding)
JOIN datalane.chunks c ON c.workspace_id = :workspace_id AND c.chunk_id = i.chunk
JOIN datalane.documents d ON d.workspace_id = :workspace_id AND d.document_id = c.document_id
WHERE d.current_version_id = c.version_id ON CONFLICT (workspace_id, model_version, chunk_id) DO NOTHING;

-- name: has_vectors(workspace_id, model_version)$
-- Whether there are vectors of a model.
SELECT EXISTS (SELECT FROM datalane.chunk_vectors WHERE workspace_id = :workspace_id AND model_version = :model_version);

-- name: clear_vectors(workspace_id, model_version, most)!
-- The next vectors of a model that nobody searches any more.
DELETE FROM datalane.chunk_vectors v USING (
    SELECT chunk_id FROM datalane.chunk_vectors
    WHERE workspace_id = :workspace_id AND model_version = :model_version LIMIT :most) AS gone
WHERE v.workspace_id = :workspace_id AND v.model_version = :model_version AND v.chunk_id = gone.chunk_id;
