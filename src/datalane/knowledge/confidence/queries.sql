-- name: get_learned_from(workspace_id, run_id)^
-- What a calibration by this run would hold for.
SELECT method, keyword_weight, versions ->> 'embedding_model' AS models
FROM datalane.evaluation_runs WHERE workspace_id = :workspace_id AND run_id = :run_id;

-- name: add_calibration(workspace_id, calibration_id, run_id, method, keyword_weight, model, scores, confidences, queries, results, calibration_error, brier_score, base_brier_score, bands, now, actor_id)!
-- What was learned.
INSERT INTO datalane.confidence_calibrations (workspace_id, calibration_id, run_id, method, keyword_weight,
    embedding_model_version, scores, confidences, queries, results, calibration_error, brier_score, base_brier_score, bands,
    created_at, actor_id)
VALUES (:workspace_id, :calibration_id, :run_id, :method, :keyword_weight, :model, :scores, :confidences, :queries, :results,
    :calibration_error, :brier_score, :base_brier_score, :bands, :now, :actor_id);

-- name: get_current(workspace_id, method, keyword_weight, model)^
-- The newest curve for what is searched by now.
SELECT calibration_id, scores, confidences FROM datalane.confidence_calibrations
WHERE workspace_id = :workspace_id AND method = :method AND keyword_weight IS NOT DISTINCT FROM :keyword_weight
  AND embedding_model_version IS NOT DISTINCT FROM :model
ORDER BY calibration_id DESC LIMIT 1;

-- name: list_calibrations(workspace_id, before, page_size)
-- Calibrations, the newest first.
SELECT calibration_id, run_id, method, keyword_weight, embedding_model_version, scores, confidences, queries, results,
       calibration_error, brier_score, base_brier_score, bands, created_at, actor_id
FROM datalane.confidence_calibrations WHERE workspace_id = :workspace_id AND (:before::uuid IS NULL OR calibration_id < :before)
ORDER BY calibration_id DESC LIMIT :page_size;

-- name: read_calibrations(workspace_id, calibration_ids)
-- Those with these ids.
SELECT calibration_id, run_id, method, keyword_weight, embedding_model_version, scores, confidences, queries, results,
       calibration_error, brier_score, base_brier_score, bands, created_at, actor_id
FROM datalane.confidence_calibrations WHERE workspace_id = :workspace_id AND calibration_id = ANY (:calibration_ids::uuid[])
ORDER BY calibration_id;
