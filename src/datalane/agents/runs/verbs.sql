-- The verbs of the ledger, as the library calls them.

-- name: open_thread(external_id, title)^
-- A thread by its id at the other side.
SELECT thread_id, created FROM datalane.open_agent_thread(:external_id, :title);

-- name: begin_run(agent, runtime, patience, max_attempts, thread_id, parent_run_id, source_run_id, prompt_version_id, model_version_id, output_schema_version_id, input, scopes, actor_id, correlation_id, causation_id, causation_depth, now)^
-- A run that is held by a runtime, or queued.
SELECT run_id, lease_token, created FROM datalane.begin_agent_run(
    :agent, :runtime, :patience, :max_attempts, :thread_id, :parent_run_id, :source_run_id, :prompt_version_id, :model_version_id,
    :output_schema_version_id, :input::text::jsonb, :scopes, :actor_id, :correlation_id, :causation_id, :causation_depth, :now);

-- name: take_run(run_id, runtime, lease, now)$
-- The token of a new lease.
SELECT datalane.take_agent_run(:run_id, :runtime, :lease, :now);

-- name: extend_runs(run_ids, lease_tokens, lease, now)$
-- Heartbeat.
SELECT datalane.extend_agent_runs(:run_ids, :lease_tokens, :lease, :now);

-- name: record_steps(run_id, lease_token, steps, now)
-- Steps that are over.
SELECT ordinal, cost FROM datalane.record_agent_steps(:run_id, :lease_token, :steps::text::jsonb, :now);

-- name: output_schema(run_id, lease_token)$
-- What the output of a run is to be like; null where nothing says so.
SELECT datalane.agent_output_schema(:run_id, :lease_token);

-- name: end_run(run_id, lease_token, outcome, output, conforms, error_class, error_message, now)$
-- The end of a run.
SELECT datalane.end_agent_run(:run_id, :lease_token, :outcome, :output::text::jsonb, :conforms, :error_class, :error_message, :now);

-- name: request_call(run_id, lease_token, tool, tool_version, arguments, arguments_digest, idempotency_key, outcome, rule_id, rule_version, reason, error_class, execute, approval_id, patience, now)^
-- A call with what was decided about it.
SELECT tool_call_id, status, attempt_count, is_replay, result FROM datalane.request_tool_call(
    :run_id, :lease_token, :tool, :tool_version, :arguments::text::jsonb, :arguments_digest, :idempotency_key, :outcome, :rule_id,
    :rule_version, :reason, :error_class, :execute, :approval_id, :patience, :now);

-- name: start_call(run_id, lease_token, tool_call_id, now)$
-- An attempt begins.
SELECT datalane.start_tool_call(:run_id, :lease_token, :tool_call_id, :now);

-- name: called_tool(run_id, lease_token, tool_call_id)^
-- Which tool was called, and what its result is to be like.
SELECT tool_name, output_schema
FROM datalane.called_tool(:run_id, :lease_token, :tool_call_id);

-- name: succeed_call(run_id, lease_token, tool_call_id, result, now)$
-- A call that did what it was to do.
SELECT datalane.succeed_tool_call(:run_id, :lease_token, :tool_call_id, :result::text::jsonb, :now);

-- name: fail_call(run_id, lease_token, tool_call_id, error_class, error_message, retryable, now)$
-- An attempt that failed.
SELECT datalane.fail_tool_call(:run_id, :lease_token, :tool_call_id, :error_class, :error_message, :retryable, :now);

-- name: cancel_call(run_id, lease_token, tool_call_id, now)$
-- A call that is not begun any more.
SELECT datalane.cancel_tool_call(:run_id, :lease_token, :tool_call_id, :now);

-- name: resolve_call(tool_call_id, approve, reason, patience, now)^
-- What a person decided.
SELECT following_run_id, agent FROM datalane.resolve_tool_call(:tool_call_id, :approve, :reason, :patience, :now);
