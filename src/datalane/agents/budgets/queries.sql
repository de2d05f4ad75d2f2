-- Budgets of agents, and what was used of them.

-- name: read_budgets(workspace_id, now)
-- Budgets with what their steps have used in the period that holds `now`, by meter and period.
SELECT b.meter, b.period, b.most, b.unit, b.updated_at, b.updated_by_actor_id, p.period_start, p.period_end, (
           SELECT coalesce(sum(u.used), 0) FROM datalane.agent_usage u
           WHERE u.workspace_id = :workspace_id AND u.meter = b.meter AND u.unit = b.unit
             AND u.day >= (p.period_start AT TIME ZONE 'UTC')::date AND u.day < (p.period_end AT TIME ZONE 'UTC')::date
       ) AS used
FROM datalane.agent_budgets b
CROSS JOIN LATERAL (
    SELECT date_trunc(b.period, :now::timestamptz AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS period_start,
           (date_trunc(b.period, :now::timestamptz AT TIME ZONE 'UTC') + ('1 ' || b.period)::interval) AT TIME ZONE 'UTC'
               AS period_end
) AS p
WHERE b.workspace_id = :workspace_id ORDER BY b.meter DESC, b.period;

-- name: has_budgets(workspace_id)$
-- Whether there is any.
SELECT EXISTS (SELECT FROM datalane.agent_budgets WHERE workspace_id = :workspace_id);

-- name: lock_budgets(workspace_id)$
-- The budgets of a workspace are changed in turn.
SELECT pg_advisory_xact_lock(hashtextextended((:workspace_id::uuid)::text, 35));

-- name: get_budget(workspace_id, meter, period)^
-- One budget.
SELECT b.most, b.unit FROM datalane.agent_budgets b
WHERE b.workspace_id = :workspace_id AND b.meter = :meter AND b.period = :period;

-- name: put_budget(workspace_id, meter, period, most, unit, now, actor_id)!
-- A budget, in the place of the one that was there.
INSERT INTO datalane.agent_budgets (workspace_id, meter, period, most, unit, updated_at, updated_by_actor_id)
VALUES (:workspace_id, :meter, :period, :most, :unit, :now, :actor_id)
ON CONFLICT (workspace_id, meter, period) DO UPDATE
SET most = excluded.most, unit = excluded.unit, updated_at = excluded.updated_at,
    updated_by_actor_id = excluded.updated_by_actor_id;

-- name: remove_budget(workspace_id, meter, period)!
-- No bound any more.
DELETE FROM datalane.agent_budgets WHERE workspace_id = :workspace_id AND meter = :meter AND period = :period;

-- name: get_held_run(workspace_id, run_id)^
-- Whose lease a run is under.
SELECT lease_token, status, started_at FROM datalane.agent_runs WHERE workspace_id = :workspace_id AND run_id = :run_id;

-- name: get_dearest_rate(workspace_id, model_version_id, at)^
-- The most that a million tokens of a model may have cost at a moment.
SELECT p.currency,
       greatest(p.input_per_million, p.cached_input_per_million, p.output_per_million, p.reasoning_per_million) AS rate
FROM datalane.agent_prices p
WHERE p.workspace_id = :workspace_id AND p.price_version_id = datalane.agent_price_at(:model_version_id, :at);
