-- name: sweep(most, patience, now)^
-- Runs and calls whose time is over.
SELECT retrying, failed, expired FROM datalane.sweep_agent_runs(:most, :patience, :now);
