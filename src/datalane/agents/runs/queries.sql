-- Reading the ledger. A cost is told where it is known of every step of a model.

-- name: list_runs(workspace_id, thread_id, parent_run_id, agent, status, before, page_size)
-- Runs, the newest first.
SELECT run_id, thread_id, parent_run_id, agent, source, source_run_id, status, attempt_count, max_attempts, actor_id,
       correlation_id, prompt_version_id, model_version_id, output_schema_version_id, conforms, error_class, error_message,
       runtime, deadline_at, model_steps, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, unmeasured_steps,
       cost AS sum_of_costs, unpriced_steps, currency, created_at, started_at, completed_at
FROM datalane.agent_runs
WHERE workspace_id = :workspace_id
  AND (:thread_id::uuid IS NULL OR thread_id = :thread_id)
  AND (:parent_run_id::uuid IS NULL OR parent_run_id = :parent_run_id)
  AND (:agent::text IS NULL OR agent = :agent)
  AND (:status::text IS NULL OR status = :status)
  AND (:before::uuid IS NULL OR run_id < :before)
ORDER BY run_id DESC LIMIT :page_size;

-- name: get_run(workspace_id, run_id)^
-- One run with what it was given and has answered.
SELECT run_id, thread_id, parent_run_id, agent, source, source_run_id, status, attempt_count, max_attempts, actor_id,
       correlation_id, prompt_version_id, model_version_id, output_schema_version_id, conforms, error_class, error_message,
       runtime, deadline_at, model_steps, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, unmeasured_steps,
       cost AS sum_of_costs, unpriced_steps, currency, created_at, started_at, completed_at, input, output,
       artifacts_forgotten
FROM datalane.agent_runs WHERE workspace_id = :workspace_id AND run_id = :run_id;

-- name: list_steps(workspace_id, run_id, by_time)
-- The steps of a run, by their places or by when they began.
SELECT ordinal, kind, name, attempt, prompt_version_id, model_version_id, input_tokens, cached_input_tokens, output_tokens,
       reasoning_tokens, price_version_id, cost, input, output, error_class, error_message, started_at, ended_at
FROM datalane.agent_steps WHERE workspace_id = :workspace_id AND run_id = :run_id
ORDER BY CASE WHEN :by_time THEN started_at END, CASE WHEN :by_time THEN source_id END, ordinal;

-- name: list_calls(workspace_id, run_id, by_time)
-- The calls of tools of a run, by their places or by when they began.
SELECT tool_call_id, run_id, ordinal, tool_name, tool_version, side_effect, status, attempt_count, max_attempts, arguments, result,
       is_replay, idempotency_key, rule_id, rule_version, reason, needs_approval, approval_until, is_approved, decided_by_actor_id,
       error_class, error_message, requested_at, decided_at, started_at, ended_at
FROM datalane.tool_calls WHERE workspace_id = :workspace_id AND run_id = :run_id
ORDER BY CASE WHEN :by_time THEN started_at END, CASE WHEN :by_time THEN ended_at END,
         CASE WHEN :by_time THEN tool_name END, CASE WHEN :by_time THEN arguments_digest END, ordinal;

-- name: list_waiting_calls(workspace_id, before, page_size)
-- Calls that wait for a person, the newest first.
SELECT tool_call_id, run_id, ordinal, tool_name, tool_version, side_effect, status, attempt_count, max_attempts, arguments, result,
       is_replay, idempotency_key, rule_id, rule_version, reason, needs_approval, approval_until, is_approved, decided_by_actor_id,
       error_class, error_message, requested_at, decided_at, started_at, ended_at
FROM datalane.tool_calls
WHERE workspace_id = :workspace_id AND approval_until IS NOT NULL AND (:before::uuid IS NULL OR tool_call_id < :before)
ORDER BY tool_call_id DESC LIMIT :page_size;

-- name: list_transitions(workspace_id, run_id)
-- The changes of status of a run and its calls.
SELECT ordinal, tool_call_id, from_status, to_status, attempt, runtime, error_class, error_message, reason, at
FROM datalane.agent_transitions WHERE workspace_id = :workspace_id AND run_id = :run_id ORDER BY ordinal;

-- name: list_moderations(workspace_id, run_id)
-- What moderation decided about a run, in the order of time.
SELECT moderation_id, run_id, tool_call_id, subject, outcome, category, reason, judged_by, citation_ids, at
FROM datalane.agent_moderations WHERE workspace_id = :workspace_id AND run_id = :run_id ORDER BY at, moderation_id;

-- name: list_threads(workspace_id, before, page_size)
-- Threads, the newest first.
SELECT thread_id, title, external_id, created_at, created_by_actor_id FROM datalane.agent_threads
WHERE workspace_id = :workspace_id AND (:before::uuid IS NULL OR thread_id < :before)
ORDER BY thread_id DESC LIMIT :page_size;

-- name: get_thread(workspace_id, thread_id)^
-- One thread.
SELECT thread_id, title, external_id, created_at, created_by_actor_id FROM datalane.agent_threads
WHERE workspace_id = :workspace_id AND thread_id = :thread_id;
