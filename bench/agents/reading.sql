-- A workspace's ledger, stored at once.

-- name: add_runs(workspace_id, actor_id, runs, steps, calls)!
-- Runs that are over, one in ten failed, of twenty agents.
INSERT INTO datalane.agent_runs (workspace_id, run_id, agent, source, status, attempt_count, max_attempts, actor_id, actor_rank,
    correlation_id, causation_depth, input, output, error_class, lease_token, runtime, entries, input_tokens, output_tokens,
    created_at, started_at, completed_at)
SELECT :workspace_id, app.uuid7(), 'agent ' || n % 20, 'runtime', CASE n % 10 WHEN 0 THEN 'failed' ELSE 'completed' END, 1, 3,
    :actor_id, 2, 'seeded', 0, '{"question": "Which herons stand in the reeds?"}', '{"text": "Grey ones."}',
    CASE n % 10 WHEN 0 THEN 'timeout' END, 1, 'first', :steps + 3 * :calls::integer + 3, 1000 * :steps, 100 * :steps, now(), now(), now()
FROM generate_series(1, :runs::integer) AS n;

-- name: add_steps(workspace_id, steps)!
-- The steps of all runs.
INSERT INTO datalane.agent_steps (workspace_id, run_id, ordinal, kind, name, attempt, input_tokens, output_tokens, input,
    output, started_at, ended_at, recorded_at)
SELECT :workspace_id, run_id, 2 + step, 'custom', 'think', 1, 1000, 100, '{"prompt": "Which herons stand in the reeds?"}',
    '{"text": "Grey ones."}', now(), now(), now()
FROM datalane.agent_runs, generate_series(1, :steps::integer) AS step WHERE workspace_id = :workspace_id;

-- name: add_calls(workspace_id, steps, calls)!
-- The calls of tools of all runs.
INSERT INTO datalane.tool_calls (workspace_id, tool_call_id, run_id, ordinal, tool_name, tool_version, side_effect, serial,
    status, attempt_count, max_attempts, arguments, arguments_digest, result, rule_id, rule_version, requested_at, decided_at,
    started_at, ended_at)
SELECT :workspace_id, app.uuid7(), run_id, 2 + :steps::integer + 3 * call, 'search', 1, 'read', false, 'succeeded', 1, 3,
    '{"query": "herons"}', '\x00', '["grey"]', 'tool.default', 1, now(), now(), now(), now()
FROM datalane.agent_runs, generate_series(1, :calls::integer) AS call WHERE workspace_id = :workspace_id;

-- name: add_transitions(workspace_id)!
-- The changes of status of all runs.
INSERT INTO datalane.agent_transitions (workspace_id, run_id, ordinal, from_status, to_status, attempt, lease_token, runtime, at)
SELECT :workspace_id, run_id, CASE place WHEN 3 THEN entries ELSE place END, from_status, to_status, 1, 1, 'first', now()
FROM datalane.agent_runs, (VALUES (1, NULL, 'queued'), (2, 'queued', 'running'), (3, 'running', 'completed'))
    AS t (place, from_status, to_status) WHERE workspace_id = :workspace_id;
