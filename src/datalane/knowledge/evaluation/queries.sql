-- name: add_run(workspace_id, run_id, dataset, dataset_sha256, method, keyword_weight, versions, queries, measures, p95_ms, now, actor_id)!
-- A run.
INSERT INTO datalane.evaluation_runs (workspace_id, run_id, dataset, dataset_sha256, method, keyword_weight, versions, queries,
                                      measures, p95_ms, created_at, actor_id)
VALUES (:workspace_id, :run_id, :dataset, :dataset_sha256, :method, :keyword_weight, :versions, :queries, :measures, :p95_ms,
        :now, :actor_id);

-- name: add_results(workspace_id, run_id, query_ids, measures, found)!
-- The results of its queries. Found documents travel as JSON arrays.
INSERT INTO datalane.evaluation_results (workspace_id, run_id, query_id, measures, found)
SELECT :workspace_id, :run_id, i.query, i.measures, ARRAY(SELECT jsonb_array_elements_text(i.found))
FROM unnest(:query_ids::text[], (:measures::text[])::jsonb[], (:found::text[])::jsonb[]) AS i (query, measures, found);

-- name: list_runs(workspace_id, before, page_size)
-- Runs, the newest first.
SELECT run_id, dataset, dataset_sha256, method, keyword_weight, versions, queries, measures, p95_ms, created_at, actor_id
FROM datalane.evaluation_runs WHERE workspace_id = :workspace_id AND (:before::uuid IS NULL OR run_id < :before)
ORDER BY run_id DESC LIMIT :page_size;

-- name: get_run(workspace_id, run_id)^
-- One run.
SELECT run_id, dataset, dataset_sha256, method, keyword_weight, versions, queries, measures, p95_ms, created_at, actor_id
FROM datalane.evaluation_runs WHERE workspace_id = :workspace_id AND run_id = :run_id;

-- name: get_last_run(workspace_id, dataset_sha256, method)$
-- The id of the newest run of a dataset by a method.
SELECT run_id FROM datalane.evaluation_runs
WHERE workspace_id = :workspace_id AND dataset_sha256 = :dataset_sha256 AND method = :method ORDER BY run_id DESC LIMIT 1;

-- name: list_results(workspace_id, run_id)
-- The results of a run.
SELECT query_id, measures, found FROM datalane.evaluation_results
WHERE workspace_id = :workspace_id AND run_id = :run_id ORDER BY query_id;

-- name: list_chunkers(workspace_id)
-- What made the chunks that are searched.
SELECT DISTINCT v.chunker_version, v.parser_version, v.search_language FROM datalane.documents d
JOIN datalane.document_versions v ON v.workspace_id = d.workspace_id AND v.version_id = d.current_version_id
WHERE d.workspace_id = :workspace_id ORDER BY 1, 2, 3;
