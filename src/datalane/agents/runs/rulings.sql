-- What a decision about a call of a tool takes from the ledger.

-- name: get_asker(workspace_id, run_id)^
-- For whom a run calls tools.
SELECT agent, actor_rank, scopes, parent_run_id FROM datalane.agent_runs
WHERE workspace_id = :workspace_id AND run_id = :run_id;

-- name: find_approval(workspace_id, parent_run_id, tool_name, tool_version, arguments_digest)$
-- A call that a person approved in the run before, and that was not made yet.
SELECT c.tool_call_id FROM datalane.tool_calls c
WHERE c.workspace_id = :workspace_id AND c.run_id = :parent_run_id AND c.is_approved AND c.tool_name = :tool_name
  AND c.tool_version = :tool_version AND c.arguments_digest = :arguments_digest
  AND NOT EXISTS (
      SELECT FROM datalane.tool_calls u WHERE u.workspace_id = :workspace_id AND u.approval_id = c.tool_call_id)
ORDER BY c.tool_call_id LIMIT 1;
