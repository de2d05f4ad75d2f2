-- name: list_runs(agent, status, most)
-- For the operator: runs of every workspace, the newest first. Operational columns only.
SELECT workspace_id, run_id, thread_id, parent_run_id, agent, source, status, attempt_count, max_attempts, correlation_id, conforms,
       error_class, runtime, deadline_at, model_steps, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens,
       unmeasured_steps, cost AS sum_of_costs, unpriced_steps, currency, created_at, started_at, completed_at
FROM datalane.agent_runs
WHERE (:agent::text IS NULL OR agent = :agent) AND (:status::text IS NULL OR status = :status)
ORDER BY run_id DESC LIMIT :most;

-- name: find_moving_runs(workspace_id, agent, since, known)
-- Runs of which there may be news: those that are not over, those with a call that waits for a person, and the young ones, which may
-- have come and gone between two looks. Those that are `known` from the look before are looked at once more.
SELECT r.run_id, r.agent, r.entries, r.completed_at IS NULL OR r.run_id >= :since OR w.run_id IS NOT NULL AS is_moving
FROM datalane.agent_runs r
LEFT JOIN (SELECT DISTINCT c.run_id FROM datalane.tool_calls c
           WHERE c.workspace_id = :workspace_id AND c.approval_until IS NOT NULL) w ON w.run_id = r.run_id
WHERE r.workspace_id = :workspace_id AND (:agent::text IS NULL OR r.agent = :agent) AND r.run_id IN (
    SELECT m.run_id FROM datalane.agent_runs m
    WHERE m.workspace_id = :workspace_id AND m.status IN ('queued', 'running', 'waiting_tool', 'retrying')
    UNION SELECT m.run_id FROM datalane.agent_runs m WHERE m.workspace_id = :workspace_id AND m.run_id >= :since
    UNION SELECT c.run_id FROM datalane.tool_calls c WHERE c.workspace_id = :workspace_id AND c.approval_until IS NOT NULL
    UNION SELECT unnest(:known::uuid[]));

-- name: list_news(workspace_id, run_ids, seen, entries)
-- Changes of status behind those that were seen, up to those that were counted.
SELECT t.at, t.run_id, t.ordinal, t.tool_call_id, c.tool_name, t.from_status, t.to_status, t.attempt, t.runtime, t.error_class,
       t.error_message, t.reason
FROM unnest(:run_ids::uuid[], :seen::integer[], :entries::integer[]) AS n (run_id, seen, entries)
JOIN datalane.agent_transitions t
    ON t.workspace_id = :workspace_id AND t.run_id = n.run_id AND t.ordinal > n.seen AND t.ordinal <= n.entries
LEFT JOIN datalane.tool_calls c ON c.workspace_id = :workspace_id AND c.tool_call_id = t.tool_call_id
ORDER BY t.at, t.run_id, t.ordinal;

-- name: list_answers(workspace_id, run_ids)
-- The answers that runs gave, with how many citations each has. It reads the answers of the workspace, so ask for all runs at once.
SELECT a.agent_run_id AS run_id, a.response_id, a.fallback, a.created_at, (
    SELECT count(*) FROM datalane.citations c WHERE c.workspace_id = :workspace_id AND c.response_id = a.response_id) AS citations
FROM datalane.responses a
WHERE a.workspace_id = :workspace_id AND a.agent_run_id = ANY (:run_ids::uuid[])
ORDER BY a.response_id;
