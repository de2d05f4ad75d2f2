-- name: forget_traces(kept, most, now)$
-- Forget traces that told of no agent.
SELECT datalane.forget_agent_traces(:kept, :most, :now);
