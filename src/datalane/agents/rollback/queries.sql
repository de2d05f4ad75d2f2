-- From what is taken back to the runs that it has touched. What is not asked about is NULL, and finds nothing by its index.

-- name: is_known(workspace_id, model_version_id, prompt_version_id, price_version_id, tool_name, tool_version)$
-- Whether what is taken back is of this workspace.
SELECT EXISTS (SELECT FROM datalane.agent_models WHERE workspace_id = :workspace_id AND model_version_id = :model_version_id)
    OR EXISTS (SELECT FROM datalane.agent_prompts WHERE workspace_id = :workspace_id AND prompt_version_id = :prompt_version_id)
    OR EXISTS (SELECT FROM datalane.agent_prices WHERE workspace_id = :workspace_id AND price_version_id = :price_version_id)
    OR EXISTS (
        SELECT FROM datalane.agent_tool_versions WHERE workspace_id = :workspace_id AND tool_name = :tool_name
        AND (:tool_version::integer IS NULL OR version = :tool_version));

-- name: list_touched_runs(workspace_id, model_version_id, prompt_version_id, price_version_id, tool_name, tool_version, before, page_size)
-- Runs, the newest first. Each branch reads no more than a page of its index, but for the tools, whose index has no runs.
WITH touched AS (
    (SELECT r.run_id FROM datalane.agent_runs r
     WHERE r.workspace_id = :workspace_id AND r.model_version_id = :model_version_id AND r.run_id < :before
     ORDER BY r.run_id DESC LIMIT :page_size)
    UNION
    (SELECT DISTINCT s.run_id FROM datalane.agent_steps s
     WHERE s.workspace_id = :workspace_id AND s.model_version_id = :model_version_id AND s.run_id < :before
     ORDER BY s.run_id DESC LIMIT :page_size)
    UNION
    (SELECT r.run_id FROM datalane.agent_runs r
     WHERE r.workspace_id = :workspace_id AND r.prompt_version_id = :prompt_version_id AND r.run_id < :before
     ORDER BY r.run_id DESC LIMIT :page_size)
    UNION
    (SELECT DISTINCT s.run_id FROM datalane.agent_steps s
     WHERE s.workspace_id = :workspace_id AND s.prompt_version_id = :prompt_version_id AND s.run_id < :before
     ORDER BY s.run_id DESC LIMIT :page_size)
    UNION
    (SELECT DISTINCT s.run_id FROM datalane.agent_steps s
     WHERE s.workspace_id = :workspace_id AND s.price_version_id = :price_version_id AND s.run_id < :before
     ORDER BY s.run_id DESC LIMIT :page_size)
    UNION
    (SELECT DISTINCT c.run_id FROM datalane.tool_calls c
     WHERE c.workspace_id = :workspace_id AND c.tool_name = :tool_name
       AND (:tool_version::integer IS NULL OR c.tool_version = :tool_version) AND c.run_id < :before
     ORDER BY c.run_id DESC LIMIT :page_size)
    ORDER BY run_id DESC LIMIT :page_size
)
SELECT r.run_id, r.thread_id, r.parent_run_id, r.agent, r.status, r.error_class, r.conforms, s.steps, s.named_steps, c.tool_calls,
       c.named_calls, r.cost AS sum_of_costs, r.unpriced_steps, r.currency, r.created_at, r.completed_at
FROM touched t
JOIN datalane.agent_runs r ON r.workspace_id = :workspace_id AND r.run_id = t.run_id
CROSS JOIN LATERAL (
    SELECT count(*) AS steps, count(*) FILTER (
        WHERE s.model_version_id = :model_version_id OR s.prompt_version_id = :prompt_version_id
           OR s.price_version_id = :price_version_id) AS named_steps
    FROM datalane.agent_steps s WHERE s.workspace_id = :workspace_id AND s.run_id = t.run_id) s
CROSS JOIN LATERAL (
    SELECT count(*) AS tool_calls, count(*) FILTER (
        WHERE c.tool_name = :tool_name AND (:tool_version::integer IS NULL OR c.tool_version = :tool_version)) AS named_calls
    FROM datalane.tool_calls c WHERE c.workspace_id = :workspace_id AND c.run_id = t.run_id) c
ORDER BY r.run_id DESC;

-- name: summarize(workspace_id, model_version_id, prompt_version_id, price_version_id, tool_name, tool_version)^
-- Sums over all runs, in one statement, so that they are of one moment. Costs go as texts, with every digit. What belongs to a run is
-- looked up for each: joined, all steps of the workspace would be read.
WITH touched AS MATERIALIZED (
    SELECT r.run_id FROM datalane.agent_runs r
    WHERE r.workspace_id = :workspace_id AND r.model_version_id = :model_version_id
    UNION SELECT s.run_id FROM datalane.agent_steps s
    WHERE s.workspace_id = :workspace_id AND s.model_version_id = :model_version_id
    UNION SELECT r.run_id FROM datalane.agent_runs r
    WHERE r.workspace_id = :workspace_id AND r.prompt_version_id = :prompt_version_id
    UNION SELECT s.run_id FROM datalane.agent_steps s
    WHERE s.workspace_id = :workspace_id AND s.prompt_version_id = :prompt_version_id
    UNION SELECT s.run_id FROM datalane.agent_steps s
    WHERE s.workspace_id = :workspace_id AND s.price_version_id = :price_version_id
    UNION SELECT c.run_id FROM datalane.tool_calls c
    WHERE c.workspace_id = :workspace_id AND c.tool_name = :tool_name
      AND (:tool_version::integer IS NULL OR c.tool_version = :tool_version)
), runs AS MATERIALIZED (
    SELECT r.status, r.conforms, r.created_at, c.tool_calls, c.named_calls
    FROM touched t
    CROSS JOIN LATERAL (
        SELECT r.status, r.conforms, r.created_at FROM datalane.agent_runs r
        WHERE r.workspace_id = :workspace_id AND r.run_id = t.run_id LIMIT 1) r
    CROSS JOIN LATERAL (
        SELECT count(*) AS tool_calls, count(*) FILTER (
            WHERE c.tool_name = :tool_name AND (:tool_version::integer IS NULL OR c.tool_version = :tool_version)) AS named_calls
        FROM datalane.tool_calls c WHERE c.workspace_id = :workspace_id AND c.run_id = t.run_id) c
), steps AS MATERIALIZED (
    SELECT s.price_version_id, sum(s.steps) AS steps, sum(s.named_steps) AS named_steps, sum(s.unpriced_steps) AS unpriced_steps,
           sum(s.cost) AS cost, sum(s.named_cost) AS named_cost
    FROM touched t
    CROSS JOIN LATERAL (
        SELECT n.price_version_id, count(*) AS steps, count(*) FILTER (WHERE n.is_named) AS named_steps,
               count(*) FILTER (WHERE n.kind = 'model' AND n.cost IS NULL) AS unpriced_steps, sum(n.cost) AS cost,
               sum(n.cost) FILTER (WHERE n.is_named) AS named_cost
        FROM (
            SELECT s.kind, s.price_version_id, s.cost, s.model_version_id = :model_version_id OR s.prompt_version_id = :prompt_version_id
                   OR s.price_version_id = :price_version_id AS is_named
            FROM datalane.agent_steps s WHERE s.workspace_id = :workspace_id AND s.run_id = t.run_id) n
        GROUP BY n.price_version_id) s
    GROUP BY s.price_version_id
), statuses AS (
    SELECT jsonb_object_agg(g.status, g.runs) AS by_status FROM (SELECT status, count(*) AS runs FROM runs GROUP BY status) g
), costs AS (
    SELECT jsonb_agg(jsonb_build_object('currency', g.currency, 'known_cost', g.known, 'named_cost', g.named) ORDER BY g.currency) AS costs
    FROM (
        SELECT p.currency, sum(s.cost)::text AS known, coalesce(sum(s.named_cost), 0)::text AS named
        FROM steps s JOIN datalane.agent_prices p ON p.workspace_id = :workspace_id AND p.price_version_id = s.price_version_id
        WHERE s.cost IS NOT NULL GROUP BY p.currency) g
)
SELECT count(*) AS runs,
       coalesce((SELECT by_status FROM statuses), '{}') AS by_status,
       count(*) FILTER (WHERE conforms) AS conforming,
       count(*) FILTER (WHERE NOT conforms) AS not_conforming,
       count(*) FILTER (WHERE conforms IS NULL) AS unknown,
       (SELECT coalesce(sum(steps), 0) FROM steps) AS steps,
       (SELECT coalesce(sum(named_steps), 0) FROM steps) AS named_steps,
       coalesce(sum(tool_calls), 0) AS tool_calls,
       coalesce(sum(named_calls), 0) AS named_calls,
       coalesce((SELECT costs FROM costs), '[]') AS costs,
       (SELECT coalesce(sum(unpriced_steps), 0) FROM steps) AS unpriced_steps,
       min(created_at) AS first_at,
       max(created_at) AS last_at
FROM runs;

-- name: list_touched_evaluations(workspace_id, model_version_id, prompt_version_id, price_version_id, tool_name, tool_version, most)
-- Evaluations that name what is asked about, or of which a run is touched, the newest first. Beside each the newest earlier one of the same
-- dataset and agent that has scores and is not touched.
WITH touched AS MATERIALIZED (
    SELECT r.run_id FROM datalane.agent_runs r
    WHERE r.workspace_id = :workspace_id AND r.model_version_id = :model_version_id
    UNION SELECT s.run_id FROM datalane.agent_steps s
    WHERE s.workspace_id = :workspace_id AND s.model_version_id = :model_version_id
    UNION SELECT r.run_id FROM datalane.agent_runs r
    WHERE r.workspace_id = :workspace_id AND r.prompt_version_id = :prompt_version_id
    UNION SELECT s.run_id FROM datalane.agent_steps s
    WHERE s.workspace_id = :workspace_id AND s.prompt_version_id = :prompt_version_id
    UNION SELECT s.run_id FROM datalane.agent_steps s
    WHERE s.workspace_id = :workspace_id AND s.price_version_id = :price_version_id
    UNION SELECT c.run_id FROM datalane.tool_calls c
    WHERE c.workspace_id = :workspace_id AND c.tool_name = :tool_name
      AND (:tool_version::integer IS NULL OR c.tool_version = :tool_version)
), found AS MATERIALIZED (
    SELECT e.evaluation_id FROM datalane.agent_evaluations e
    WHERE e.workspace_id = :workspace_id AND e.model_version_id = :model_version_id
    UNION SELECT e.evaluation_id FROM datalane.agent_evaluations e
    WHERE e.workspace_id = :workspace_id AND e.prompt_version_id = :prompt_version_id
    UNION SELECT r.evaluation_id FROM touched t
    JOIN datalane.agent_evaluation_results r ON r.workspace_id = :workspace_id AND r.run_id = t.run_id
)
SELECT e.evaluation_id, d.dataset_version_id, d.name AS dataset, d.version AS dataset_version, e.agent, e.graders, e.scores, e.refusal,
       e.passed, e.created_at, b.evaluation_id AS baseline_id, b.graders AS base_graders, b.scores AS base_scores
FROM found f
JOIN datalane.agent_evaluations e ON e.workspace_id = :workspace_id AND e.evaluation_id = f.evaluation_id
JOIN datalane.agent_datasets d ON d.workspace_id = :workspace_id AND d.dataset_version_id = e.dataset_version_id
LEFT JOIN LATERAL (
    SELECT o.evaluation_id, o.graders, o.scores FROM datalane.agent_evaluations o
    WHERE o.workspace_id = :workspace_id AND o.dataset_version_id = e.dataset_version_id AND o.agent = e.agent
      AND o.evaluation_id < e.evaluation_id AND o.scores IS NOT NULL
      AND NOT EXISTS (SELECT FROM found n WHERE n.evaluation_id = o.evaluation_id)
    ORDER BY o.evaluation_id DESC LIMIT 1) b ON true
ORDER BY e.evaluation_id DESC LIMIT :most;
