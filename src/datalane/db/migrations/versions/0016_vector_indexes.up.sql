-- The indexes over vectors of one workspace and one model. A search uses one that is ready, else it looks at every vector.
-- The maintenance process makes and drops what they name, as a statement of its own: no transaction may hold it.
CREATE TABLE datalane.vector_indexes (
    workspace_id uuid NOT NULL,
    model_version text NOT NULL,
    index_name text NOT NULL,
    dimensions integer NOT NULL CONSTRAINT an_index_holds_them CHECK (dimensions BETWEEN 1 AND 2000),
    status text NOT NULL
        CONSTRAINT status_is_known CHECK (status IN ('building', 'ready', 'unfit', 'leaving')),
    chunks bigint NOT NULL,
    ef_search integer,
    recall double precision,
    measured_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, model_version),
    CONSTRAINT a_ready_index_was_measured CHECK (status <> 'ready' OR (ef_search IS NOT NULL AND recall IS NOT NULL AND measured_at IS NOT NULL))
);
SELECT app.protect('datalane.vector_indexes', 'log', verbs => 'SELECT, INSERT, UPDATE, DELETE');

GRANT SELECT ON datalane.search_totals, datalane.embedding_models, datalane.chunk_vectors TO datalane_definer;
CREATE POLICY verbs ON datalane.search_totals TO datalane_definer USING (true) WITH CHECK (true);
CREATE POLICY verbs ON datalane.embedding_models TO datalane_definer USING (true) WITH CHECK (true);
CREATE POLICY verbs ON datalane.chunk_vectors TO datalane_definer USING (true) WITH CHECK (true);

-- The vectors of a workspace and a model that are nearest to one, by that workspace's index. It is planned for its values each
-- time, since only then the planner knows that the index has all their rows; and without a sort where that can be, since it may
-- not have heard yet how many they are. Where the index is gone, every vector is looked at.
CREATE FUNCTION datalane.nearest_chunks(
    workspace uuid, model text, dimensions integer, ef integer, nearest_to public.vector, most integer)
RETURNS TABLE (chunk_id uuid, score double precision) LANGUAGE plpgsql
SET search_path = '' SET enable_sort = off AS $$
BEGIN
    EXECUTE format('SET LOCAL hnsw.ef_search = %s', least(greatest(ef, most), 1000));
    SET LOCAL hnsw.iterative_scan = strict_order;
    RETURN QUERY EXECUTE format(
        'SELECT n.chunk_id, -n.distance
         FROM (SELECT v.chunk_id, v.embedding::public.vector(%s) OPERATOR(public.<#>) $3 AS distance
               FROM datalane.chunk_vectors v WHERE v.workspace_id = $1 AND v.model_version = $2
               ORDER BY distance LIMIT $4) AS n
         ORDER BY n.distance, n.chunk_id', dimensions)
        USING workspace, model, nearest_to, most;
END $$;
REVOKE ALL ON FUNCTION datalane.nearest_chunks(uuid, text, integer, integer, public.vector, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION datalane.nearest_chunks(uuid, text, integer, integer, public.vector, integer)
    TO datalane_app, datalane_definer;

SET LOCAL ROLE datalane_definer;

-- The models that workspaces of so many chunks search by, or may from one moment to the next. What a workspace may have written
-- into its own rows by hand keeps no other one from its index.
CREATE FUNCTION datalane.searched_models(bound bigint)
RETURNS TABLE (workspace_id uuid, model_version text, dimensions integer, chunks bigint) LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT s.workspace_id, u.model_version, u.dimensions, s.chunks
    FROM (SELECT t.workspace_id, least(sum(t.entries), 1e15)::bigint AS chunks FROM datalane.search_totals t
          WHERE t.collection = 1::smallint GROUP BY t.workspace_id HAVING sum(t.entries) >= greatest(bound, 1)) AS s
    CROSS JOIN LATERAL (
        SELECT m.model_version, m.dimensions FROM datalane.embedding_models m
        WHERE m.workspace_id = s.workspace_id AND m.status IN ('ready', 'active')
        UNION ALL
        (SELECT v.model_version, public.vector_dims(v.embedding) FROM datalane.chunk_vectors v
         WHERE v.workspace_id = s.workspace_id
           AND NOT EXISTS (SELECT FROM datalane.embedding_models m WHERE m.workspace_id = s.workspace_id)
         ORDER BY v.model_version LIMIT 1)) AS u
    WHERE u.dimensions BETWEEN 1 AND 2000
$$;

-- Bring the list of indexes up to date and answer it. A workspace of `bound` chunks gets one for each model that is filled,
-- the largest first, while there are not `most` of them; it leaves when the workspace has half as many, or the model is used
-- no more. One that was unfit is tried again after a week, or when there are half as many chunks again. `stale` is a ready one
-- that was measured a day ago, or when there were a fifth fewer chunks.
CREATE FUNCTION datalane.plan_vector_indexes(bound bigint, most integer, now timestamptz DEFAULT NULL)
RETURNS TABLE (workspace_id uuid, model_version text, index_name text, dimensions integer, status text, chunks bigint,
               recall double precision, stale boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    UPDATE datalane.vector_indexes x SET status = 'leaving'
    WHERE NOT EXISTS (SELECT FROM datalane.searched_models(bound / 2) s
                      WHERE s.workspace_id = x.workspace_id AND s.model_version = x.model_version);
    INSERT INTO datalane.vector_indexes (workspace_id, model_version, index_name, dimensions, status, chunks, created_at)
    SELECT s.workspace_id, s.model_version,
           'chunk_vectors_own_' || left(md5(s.workspace_id::text || '/' || s.model_version), 16), s.dimensions, 'building', s.chunks, at
    FROM datalane.searched_models(bound) s
    WHERE NOT EXISTS (SELECT FROM datalane.vector_indexes x
                      WHERE x.workspace_id = s.workspace_id AND x.model_version = s.model_version)
    ORDER BY s.chunks DESC, s.workspace_id, s.model_version
    LIMIT greatest(most - (SELECT count(*) FROM datalane.vector_indexes x WHERE x.status <> 'unfit'), 0)
    ON CONFLICT DO NOTHING;
    UPDATE datalane.vector_indexes x SET status = 'building'
    FROM datalane.searched_models(bound) s
    WHERE x.status = 'unfit' AND s.workspace_id = x.workspace_id AND s.model_version = x.model_version
      AND (x.measured_at < at - interval '7 days' OR s.chunks >= x.chunks * 1.5);
    RETURN QUERY
        SELECT x.workspace_id, x.model_version, x.index_name, x.dimensions, x.status, coalesce(s.chunks, 0), x.recall,
               x.status = 'ready' AND (x.measured_at < at - interval '1 day' OR s.chunks >= x.chunks * 1.2)
        FROM datalane.vector_indexes x
        LEFT JOIN datalane.searched_models(0) s ON s.workspace_id = x.workspace_id AND s.model_version = x.model_version
        ORDER BY x.status <> 'leaving', s.chunks, x.workspace_id, x.model_version;
END $$;

-- Ask an index for the neighbours of `questions` points and compare with looking at every vector: keep the least effort that
-- finds `wanted` of the best ten. The index is ready from then on, or unfit when none does. A point lies amid four chunks, which
-- is as hard to search from as questions are; from a chunk it is easier. Of equal neighbours any counts.
CREATE FUNCTION datalane.measure_vector_index(
    workspace uuid, model text, wanted double precision, questions integer, now timestamptz DEFAULT NULL)
RETURNS TABLE (effort integer, recall double precision) LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    own datalane.vector_indexes; vectors public.vector[]; points public.vector[]; asked public.vector;
    tenth double precision[]; scores double precision[]; sought bigint := 0; hits bigint;
BEGIN
    SELECT x.dimensions, x.index_name INTO own.dimensions, own.index_name FROM datalane.vector_indexes x
    WHERE x.workspace_id = workspace AND x.model_version = model;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indisvalid
                   AND i.indexrelid = to_regclass(format('datalane.%I', own.index_name))) THEN
        RAISE EXCEPTION 'the index is not there, or was not built to the end' USING ERRCODE = 'DL409';
    END IF;
    vectors := ARRAY(SELECT v.embedding FROM datalane.chunk_vectors v
                     WHERE v.workspace_id = workspace AND v.model_version = model ORDER BY random() LIMIT 4 * questions);
    FOR point IN 1 .. cardinality(vectors) / 4 LOOP
        asked := public.l2_normalize(vectors[4 * point - 3] OPERATOR(public.+) vectors[4 * point - 2]
                                     OPERATOR(public.+) vectors[4 * point - 1] OPERATOR(public.+) vectors[4 * point]);
        scores := ARRAY(SELECT -(v.embedding OPERATOR(public.<#>) asked) FROM datalane.chunk_vectors v
                        WHERE v.workspace_id = workspace AND v.model_version = model
                        ORDER BY v.embedding OPERATOR(public.<#>) asked LIMIT 10);
        sought := sought + cardinality(scores);
        points := points || asked;
        tenth := tenth || scores[cardinality(scores)];
    END LOOP;
    recall := 0;
    FOREACH effort IN ARRAY '{100,150,200,300,400,600,800,1000}'::integer[] LOOP
        hits := 0;
        FOR point IN 1 .. coalesce(cardinality(points), 0) LOOP
            hits := hits + (SELECT count(*) FROM datalane.nearest_chunks(workspace, model, own.dimensions, effort, points[point], 10) n
                            WHERE n.score >= tenth[point]);
        END LOOP;
        recall := hits::double precision / greatest(sought, 1);
        EXIT WHEN recall >= wanted;
    END LOOP;
    UPDATE datalane.vector_indexes x
    SET status = CASE WHEN measure_vector_index.recall >= wanted THEN 'ready' ELSE 'unfit' END,
        ef_search = measure_vector_index.effort, recall = measure_vector_index.recall,
        measured_at = coalesce(now, clock_timestamp()),
        chunks = coalesce((SELECT s.chunks FROM datalane.searched_models(0) s
                           WHERE s.workspace_id = workspace AND s.model_version = model), 0)
    WHERE x.workspace_id = workspace AND x.model_version = model AND x.status IN ('building', 'ready', 'unfit');
    RETURN NEXT;
END $$;

-- An index that left has been dropped.
CREATE FUNCTION datalane.forget_vector_index(workspace uuid, model text)
RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    WITH gone AS (DELETE FROM datalane.vector_indexes x
                  WHERE x.workspace_id = workspace AND x.model_version = model AND x.status = 'leaving' RETURNING x.workspace_id)
    SELECT EXISTS (SELECT FROM gone)
$$;
REVOKE ALL ON FUNCTION datalane.searched_models(bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION datalane.plan_vector_indexes(bigint, integer, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION datalane.measure_vector_index(uuid, text, double precision, integer, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION datalane.forget_vector_index(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION datalane.plan_vector_indexes(bigint, integer, timestamptz) TO datalane_maintenance;
GRANT EXECUTE ON FUNCTION datalane.measure_vector_index(uuid, text, double precision, integer, timestamptz) TO datalane_maintenance;
GRANT EXECUTE ON FUNCTION datalane.forget_vector_index(uuid, text) TO datalane_maintenance;
SET LOCAL ROLE datalane_owner;
