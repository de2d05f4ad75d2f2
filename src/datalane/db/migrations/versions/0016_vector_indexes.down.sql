DROP FUNCTION datalane.forget_vector_index;
DROP FUNCTION datalane.measure_vector_index;
DROP FUNCTION datalane.plan_vector_indexes;
DROP FUNCTION datalane.searched_models;
DROP FUNCTION datalane.nearest_chunks;
DROP POLICY verbs ON datalane.chunk_vectors;
DROP POLICY verbs ON datalane.embedding_models;
DROP POLICY verbs ON datalane.search_totals;
REVOKE SELECT ON datalane.search_totals, datalane.embedding_models, datalane.chunk_vectors FROM datalane_definer;
DROP TABLE datalane.vector_indexes;
DO $$
DECLARE
    own record;
BEGIN
    FOR own IN
        SELECT c.oid::regclass AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = 'datalane.chunk_vectors'::regclass AND starts_with(c.relname, 'chunk_vectors_own_')
    LOOP
        EXECUTE format('DROP INDEX %s', own.name);
    END LOOP;
END $$;
