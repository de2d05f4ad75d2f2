-- What is used of quotas.

-- name: consume(quota_key, units, idempotency_key, now)$
-- Use units. Its row as one value takes less of the server than a table.
SELECT datalane.consume(:quota_key, :units, :idempotency_key, :now);

-- name: consume_as(workspace_id, actor_id, actor_role, correlation_id, settings, quota_key, units, idempotency_key)$
-- Use units, in a transaction of its own.
SELECT datalane.consume_as(:workspace_id, :actor_id, :actor_role, :correlation_id, :settings, :quota_key, :units, :idempotency_key);

-- name: consume_batch(quota_key, units, idempotency_keys, actor_ids, correlation_ids)
-- Use units, many times.
SELECT outcome, consumed_units, reserved_units, limit_units, period_start, period_end, retry_at
FROM datalane.consume_batch(:quota_key, :units, :idempotency_keys, :actor_ids, :correlation_ids) ORDER BY ordinal;

-- name: reserve(quota_key, units, idempotency_key, lasts, now)^
-- Set units aside.
SELECT outcome, consumed_units, reserved_units, limit_units, period_start, period_end, retry_at
FROM datalane.reserve_usage(:quota_key, :units, :idempotency_key, :lasts, :now);

-- name: commit(quota_key, idempotency_key, units, now)^
-- What the work took that they were set aside for.
SELECT outcome, consumed_units, reserved_units, limit_units, period_start, period_end, retry_at
FROM datalane.commit_usage(:quota_key, :idempotency_key, :units, :now);

-- name: release(quota_key, idempotency_key, now)$
-- Nothing was used of them.
SELECT datalane.release_usage(:quota_key, :idempotency_key, :now);

-- name: usage_at(at, only_key)
-- What quotas stand at.
SELECT quota_key, in_window, seconds, time_zone, period_start, period_end, consumed_units, reserved_units, limit_units, plan_id,
       plan_version, override_source, recovering, last_increment_at, last_increment_correlation_id, counter_version
FROM datalane.usage_at(:at, :only_key);

-- name: list_ledger(workspace_id, quota_key, before_period, before_at, before_key, page_size)
-- Uses and corrections of a quota, the newest first.
SELECT l.quota_key, l.idempotency_key, l.kind, l.units, nullif(l.period_start, '-infinity') AS period_start, l.at, l.recorded_at,
       l.actor_id, l.correlation_id, l.reason, l.period_start::text AS place
FROM datalane.usage_ledger l
WHERE l.workspace_id = :workspace_id AND l.quota_key = :quota_key AND l.at > '-infinity'
  AND (:before_at::timestamptz IS NULL
       OR (l.period_start, l.at, l.idempotency_key) < (:before_period::text::timestamptz, :before_at, :before_key::text))
ORDER BY l.period_start DESC, l.at DESC, l.idempotency_key DESC LIMIT :page_size;

-- name: correct(quota_key, units, idempotency_key, reason, occurred_at, now)^
-- Signed units, for a reason.
SELECT outcome, consumed_units, reserved_units, limit_units, period_start, period_end
FROM datalane.correct_usage(:quota_key, :units, :idempotency_key, :reason, :occurred_at, :now);

-- name: reset(quota_key, idempotency_key, reason, now)$
-- The period from nothing again.
SELECT datalane.reset_usage(:quota_key, :idempotency_key, :reason, :now);

-- name: differences()
-- Counters that are not what their ledger says.
SELECT quota_key, period_start, consumed_units, ledger_units, reserved_units, open_units FROM datalane.usage_differences();

-- name: repair(quota_key, reason, now)$
-- Counters as their ledger says.
SELECT datalane.repair_usage(:quota_key, :reason, :now);
