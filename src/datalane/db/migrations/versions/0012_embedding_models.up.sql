-- The embedding models of a workspace. Vectors are made by every one that is not retired; search uses the active one.
-- A workspace without a row has one model, of which its vectors are.
CREATE TABLE datalane.embedding_models (
    workspace_id uuid NOT NULL,
    model_version text NOT NULL,
    provider text NOT NULL,
    name text NOT NULL,
    version text NOT NULL,
    dimensions integer NOT NULL CONSTRAINT a_vector_fits_a_page CHECK (dimensions BETWEEN 1 AND 2000),
    distance text NOT NULL DEFAULT 'cosine' CONSTRAINT distance_is_known CHECK (distance = 'cosine'),
    status text NOT NULL
        CONSTRAINT status_is_known CHECK (status IN ('filling', 'ready', 'active', 'retired')),
    backfill_job_id uuid,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    created_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, model_version),
    CONSTRAINT a_model_is_named_by_its_version CHECK (model_version = name || '/' || version)
);
CREATE UNIQUE INDEX one_active_embedding_model ON datalane.embedding_models (workspace_id) WHERE status = 'active';
SELECT app.protect('datalane.embedding_models', 'managed');

-- The model of a workspace that registered none: `usual`, unless its vectors are of another one.
CREATE FUNCTION datalane.implicit_embedding_model(usual text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM datalane.chunk_vectors v
                             WHERE v.workspace_id = app.workspace_id() AND v.model_version = usual) THEN usual
        ELSE coalesce((SELECT min(v.model_version) FROM datalane.chunk_vectors v
                       WHERE v.workspace_id = app.workspace_id()), usual) END
$$;
REVOKE ALL ON FUNCTION datalane.implicit_embedding_model(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION datalane.implicit_embedding_model(text) TO datalane_app;

-- The models that vectors are made by, as they are and stay until the transaction ends: whoever registers or retires one
-- waits for an exclusive lock on the same key. The second statement sees what whoever held the lock has changed.
CREATE FUNCTION datalane.hold_embedding_models(usual text)
RETURNS TABLE (model_version text, status text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(app.workspace_id()::text, 4));
    RETURN QUERY SELECT m.model_version, m.status FROM datalane.embedding_models m
                 WHERE m.workspace_id = app.workspace_id() AND m.status <> 'retired';
    IF NOT FOUND THEN
        RETURN QUERY SELECT datalane.implicit_embedding_model(usual), 'active';
    END IF;
END $$;
REVOKE ALL ON FUNCTION datalane.hold_embedding_models(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION datalane.hold_embedding_models(text) TO datalane_app;
