-- name: take_turn()$
-- Whether this connection is the one that builds. A server goes on building for a client that died, and holds the lock.
SELECT pg_try_advisory_lock(hashtextextended('datalane.vector_indexes', 6));

-- name: plan(bound, most, now)
-- What there is and is to be, the smallest first.
SELECT workspace_id, model_version, index_name, dimensions, status, chunks, recall, stale
FROM datalane.plan_vector_indexes(:bound, :most, :now);

-- name: list_built()
-- The indexes of this kind that are in the database.
SELECT c.relname::text AS index_name, i.indisvalid AS is_valid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = 'datalane.chunk_vectors'::regclass AND starts_with(c.relname, 'chunk_vectors_own_');

-- name: measure(workspace_id, model_version, wanted, questions, now)^
-- Recall of an index, and the effort by which it has it.
SELECT effort, recall FROM datalane.measure_vector_index(:workspace_id, :model_version, :wanted, :questions, :now);

-- name: forget(workspace_id, model_version)$
-- An index that is gone.
SELECT datalane.forget_vector_index(:workspace_id, :model_version);

-- name: write_build(index_name, dimensions, links, effort, workspace_id, model_version)$
-- The statement that builds an index.
SELECT format(
    'CREATE INDEX CONCURRENTLY %I ON datalane.chunk_vectors USING hnsw ((embedding::public.vector(%s)) public.vector_ip_ops) '
    'WITH (m = %s, ef_construction = %s) WHERE workspace_id = %L AND model_version = %L',
    :index_name::text, :dimensions::integer, :links::integer, :effort::integer, :workspace_id::uuid, :model_version::text);

-- name: write_drop(index_name)$
-- The statement that drops an index.
SELECT format('DROP INDEX CONCURRENTLY IF EXISTS datalane.%I', :index_name::text);
