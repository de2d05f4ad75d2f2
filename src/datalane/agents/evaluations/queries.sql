-- name: find_missing(workspace_id, prompt_version_id, model_version_id, output_schema_version_id)
-- What is named and is not there.
SELECT 'a prompt' AS missing WHERE :prompt_version_id::uuid IS NOT NULL AND NOT EXISTS (
    SELECT FROM datalane.agent_prompts WHERE workspace_id = :workspace_id AND prompt_version_id = :prompt_version_id)
UNION ALL
SELECT 'a model' WHERE :model_version_id::uuid IS NOT NULL AND NOT EXISTS (
    SELECT FROM datalane.agent_models WHERE workspace_id = :workspace_id AND model_version_id = :model_version_id)
UNION ALL
SELECT 'an output schema' WHERE :output_schema_version_id::uuid IS NOT NULL AND NOT EXISTS (
    SELECT FROM datalane.agent_output_schemas
    WHERE workspace_id = :workspace_id AND output_schema_version_id = :output_schema_version_id);

-- name: list_usage(workspace_id, run_ids)
-- What runs used. The cost is told where it is known of every step of a model; seconds are null while a run goes on.
SELECT r.run_id, CASE WHEN r.unpriced_steps = 0 THEN coalesce(r.cost, 0) END AS cost, r.currency, r.input_tokens, r.output_tokens,
       extract(epoch FROM r.completed_at - r.started_at)::float8 AS seconds
FROM datalane.agent_runs r WHERE r.workspace_id = :workspace_id AND r.run_id = ANY (:run_ids::uuid[]);

-- name: add_evaluation(workspace_id, evaluation_id, dataset_version_id, agent, prompt_version_id, model_version_id, output_schema_version_id, graders, cases, attempted, failed, invalid, graded, coverage_threshold, thresholds, scores, refusal, passed, known_cost, currency, unpriced, input_tokens, output_tokens, now, actor_id)!
-- An evaluation.
INSERT INTO datalane.agent_evaluations (workspace_id, evaluation_id, dataset_version_id, agent, prompt_version_id, model_version_id,
                                        output_schema_version_id, graders, cases, attempted, failed, invalid, graded, coverage_threshold,
                                        thresholds, scores, refusal, passed, known_cost, currency, unpriced, input_tokens,
                                        output_tokens, created_at, actor_id)
VALUES (:workspace_id, :evaluation_id, :dataset_version_id, :agent, :prompt_version_id, :model_version_id, :output_schema_version_id,
        :graders, :cases, :attempted, :failed, :invalid, :graded, :coverage_threshold, :thresholds, :scores, :refusal, :passed,
        :known_cost, :currency, :unpriced, :input_tokens, :output_tokens, :now, :actor_id);

-- name: add_results(workspace_id, evaluation_id, attempted, case_ids, run_ids, outcomes, scores, error_classes, reasons, costs, currencies, input_tokens, output_tokens, seconds)!
-- Its results, in the order of their cases.
INSERT INTO datalane.agent_evaluation_results (workspace_id, evaluation_id, ordinal, case_id, attempted, run_id, outcome, scores,
                                               error_class, reason, cost, currency, input_tokens, output_tokens, seconds)
SELECT :workspace_id, :evaluation_id, i.ordinal, i.case_id, :attempted, i.run_id, i.outcome, i.scores, i.error_class, i.reason, i.cost,
       i.currency, i.input_tokens, i.output_tokens, i.seconds
FROM unnest(:case_ids::text[], :run_ids::uuid[], :outcomes::text[], (:scores::text[])::jsonb[], :error_classes::text[], :reasons::text[],
            :costs::numeric[], :currencies::text[], :input_tokens::bigint[], :output_tokens::bigint[], :seconds::float8[])
    WITH ORDINALITY
    AS i (case_id, run_id, outcome, scores, error_class, reason, cost, currency, input_tokens, output_tokens, seconds, ordinal);

-- name: get_evaluation(workspace_id, evaluation_id)^
-- One evaluation.
SELECT e.evaluation_id, e.dataset_version_id, d.name AS dataset, d.version AS dataset_version, e.agent, e.prompt_version_id,
       e.model_version_id, e.output_schema_version_id, e.graders, e.cases, e.attempted, e.failed, e.invalid, e.graded,
       e.graded::float8 / e.cases AS coverage, e.coverage_threshold, e.thresholds, e.scores, e.refusal, e.passed, e.known_cost,
       e.currency, e.unpriced, e.input_tokens, e.output_tokens, e.created_at, e.actor_id
FROM datalane.agent_evaluations e
JOIN datalane.agent_datasets d ON d.workspace_id = e.workspace_id AND d.dataset_version_id = e.dataset_version_id
WHERE e.workspace_id = :workspace_id AND e.evaluation_id = :evaluation_id;

-- name: list_evaluations(workspace_id, dataset_version_id, agent, before, page_size)
-- Evaluations, the newest first.
SELECT e.evaluation_id, e.dataset_version_id, d.name AS dataset, d.version AS dataset_version, e.agent, e.prompt_version_id,
       e.model_version_id, e.output_schema_version_id, e.graders, e.cases, e.attempted, e.failed, e.invalid, e.graded,
       e.graded::float8 / e.cases AS coverage, e.coverage_threshold, e.thresholds, e.scores, e.refusal, e.passed, e.known_cost,
       e.currency, e.unpriced, e.input_tokens, e.output_tokens, e.created_at, e.actor_id
FROM datalane.agent_evaluations e
JOIN datalane.agent_datasets d ON d.workspace_id = e.workspace_id AND d.dataset_version_id = e.dataset_version_id
WHERE e.workspace_id = :workspace_id
  AND (:dataset_version_id::uuid IS NULL OR e.dataset_version_id = :dataset_version_id)
  AND (:agent::text IS NULL OR e.agent = :agent)
  AND (:before::uuid IS NULL OR e.evaluation_id < :before)
ORDER BY e.evaluation_id DESC LIMIT :page_size;

-- name: get_last_evaluation(workspace_id, dataset_version_id, agent)$
-- The newest one of a dataset and an agent that has scores.
SELECT evaluation_id FROM datalane.agent_evaluations
WHERE workspace_id = :workspace_id AND dataset_version_id = :dataset_version_id AND agent = :agent AND scores IS NOT NULL
ORDER BY evaluation_id DESC LIMIT 1;

-- name: list_results(workspace_id, evaluation_id, behind, page_size)
-- Results behind a place, in their order.
SELECT ordinal, case_id, outcome, run_id, scores, error_class, reason, cost, currency, input_tokens, output_tokens, seconds
FROM datalane.agent_evaluation_results
WHERE workspace_id = :workspace_id AND evaluation_id = :evaluation_id AND ordinal > :behind
ORDER BY ordinal LIMIT :page_size;

-- name: list_graded(workspace_id, evaluation_id)
-- The cases that it has graded, with what they used.
SELECT case_id, scores, cost, currency, input_tokens, output_tokens FROM datalane.agent_evaluation_results
WHERE workspace_id = :workspace_id AND evaluation_id = :evaluation_id AND outcome = 'graded' ORDER BY ordinal;
