-- What the assistant reads of a run that it takes up.

-- name: get_queued(workspace_id, run_id)^
-- For whom a run is, and what it was asked.
SELECT agent, actor_id, actor_rank, scopes, input FROM datalane.agent_runs
WHERE workspace_id = :workspace_id AND run_id = :run_id;
