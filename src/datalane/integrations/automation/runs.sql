-- name: find_versions(workspace_id, rule_ids, versions)
-- Versions of rules by their numbers, and whether their rules are enabled now.
SELECT r.rule_id, v.version, r.enabled, r.event_type, v.condition, v.actions
FROM unnest(:rule_ids::uuid[], :versions::integer[]) AS i (rule, version)
JOIN datalane.automation_rules r ON r.workspace_id = :workspace_id AND r.rule_id = i.rule
JOIN datalane.automation_rule_versions v
    ON v.workspace_id = :workspace_id AND v.rule_id = i.rule AND v.version = i.version;

-- name: find_events(workspace_id, event_ids)
-- Stored events.
SELECT event_id, event_type, version, source_system, source_event_id, subject_id, actor_id, occurred_at, received_at,
       correlation_id, causation_id, causation_depth, payload, signature_verified, ingestion_status
FROM datalane.events WHERE workspace_id = :workspace_id AND event_id = ANY (:event_ids::uuid[]);

-- name: add_runs(workspace_id, event_ids, rule_ids, versions, run_ids, event_types, job_ids, actor_ids, correlation_ids, causation_depths, now)!
-- Runs that are not there yet.
INSERT INTO datalane.automation_runs (workspace_id, event_id, rule_id, rule_version, run_id, event_type, status, job_id,
                                      attempt_count, actor_id, correlation_id, causation_depth, created_at, started_at)
SELECT :workspace_id, i.event, i.rule, i.version, i.run, i.event_type, 'pending', i.job, 0, i.actor, i.correlation, i.depth,
       :now, :now
FROM unnest(:event_ids::uuid[], :rule_ids::uuid[], :versions::integer[], :run_ids::uuid[], :event_types::text[],
            :job_ids::uuid[], :actor_ids::uuid[], :correlation_ids::text[], :causation_depths::integer[])
    AS i (event, rule, version, run, event_type, job, actor, correlation, depth)
ORDER BY i.event, i.rule, i.version
ON CONFLICT (workspace_id, event_id, rule_id, rule_version) DO NOTHING;

-- name: lock_runs(workspace_id, event_ids, rule_ids, versions)
-- Runs by what they are of, locked in one order.
SELECT r.run_id, r.event_id, r.rule_id, r.rule_version, r.status, r.job_id
FROM datalane.automation_runs r
WHERE r.workspace_id = :workspace_id AND (r.event_id, r.rule_id, r.rule_version) IN (
    SELECT i.event, i.rule, i.version
    FROM unnest(:event_ids::uuid[], :rule_ids::uuid[], :versions::integer[]) AS i (event, rule, version))
ORDER BY r.event_id, r.rule_id, r.rule_version FOR UPDATE;

-- name: take_up(workspace_id, event_ids, rule_ids, versions, job_ids, attempts, sources, now)!
-- Runs that their jobs run from now on.
UPDATE datalane.automation_runs r
SET status = 'running', job_id = i.job, attempt_count = i.attempt, started_at = :now, ended_at = NULL, reason = NULL,
    error_class = NULL, error_message = NULL
FROM unnest(:event_ids::uuid[], :rule_ids::uuid[], :versions::integer[], :job_ids::uuid[], :attempts::integer[])
    AS i (event, rule, version, job, attempt)
WHERE r.workspace_id = :workspace_id AND r.event_id = i.event AND r.rule_id = i.rule AND r.rule_version = i.version
  AND r.status = ANY (:sources::text[]);

-- name: end_runs(workspace_id, event_ids, rule_ids, versions, statuses, reasons, outcomes, sources, now)!
-- Runs that have come to their end.
UPDATE datalane.automation_runs r
SET status = i.status, reason = i.reason, outcomes = i.outcomes::jsonb, ended_at = :now
FROM unnest(:event_ids::uuid[], :rule_ids::uuid[], :versions::integer[], :statuses::text[], :reasons::text[], :outcomes::text[])
    AS i (event, rule, version, status, reason, outcomes)
WHERE r.workspace_id = :workspace_id AND r.event_id = i.event AND r.rule_id = i.rule AND r.rule_version = i.version
  AND r.status = ANY (:sources::text[]);

-- name: fail_run(workspace_id, event_id, rule_id, version, job_id, status, error_class, error_message, outcomes, ended_at, sources)!
-- A run whose attempt failed, unless another job has taken it up since.
UPDATE datalane.automation_runs
SET status = :status, error_class = :error_class, error_message = :error_message, outcomes = :outcomes, ended_at = :ended_at
WHERE workspace_id = :workspace_id AND event_id = :event_id AND rule_id = :rule_id AND rule_version = :version
  AND job_id = :job_id AND status = ANY (:sources::text[]);

-- name: bury_run(workspace_id, job_id, error_class, error_message, sources, now)!
-- The run of a job that is a dead letter.
UPDATE datalane.automation_runs
SET status = 'dead_letter', error_class = coalesce(error_class, :error_class),
    error_message = coalesce(error_message, :error_message), ended_at = :now
WHERE workspace_id = :workspace_id AND job_id = :job_id AND status = ANY (:sources::text[]);

-- name: get_run(workspace_id, run_id)^
-- One run with what its actions did.
SELECT run_id, rule_id, rule_version, event_id, event_type, status, reason, error_class, error_message, job_id, attempt_count,
       replay_count, actor_id, correlation_id, causation_depth, created_at, started_at, ended_at, outcomes
FROM datalane.automation_runs WHERE workspace_id = :workspace_id AND run_id = :run_id;

-- name: list_runs(workspace_id, rule_id, event_id, status, before, page_size)
-- Runs, the newest first: their ids are in the order of time.
SELECT run_id, rule_id, rule_version, event_id, event_type, status, reason, error_class, error_message, job_id, attempt_count,
       replay_count, actor_id, correlation_id, causation_depth, created_at, started_at, ended_at
FROM datalane.automation_runs
WHERE workspace_id = :workspace_id AND (:before::uuid IS NULL OR run_id < :before)
  AND (:rule_id::uuid IS NULL OR rule_id = :rule_id) AND (:event_id::uuid IS NULL OR event_id = :event_id)
  AND (:status::text IS NULL OR status = :status)
ORDER BY run_id DESC LIMIT :page_size;

-- name: lock_named(workspace_id, run_ids)
-- Runs by their ids, with the jobs that took them up last, locked in one order.
SELECT r.run_id, r.event_id, r.rule_id, r.rule_version, r.status, r.job_id, r.replay_count, r.actor_id, r.correlation_id,
       r.causation_depth, j.status AS job_status, j.replayed_by
FROM datalane.automation_runs r
LEFT JOIN datalane.jobs j ON j.workspace_id = r.workspace_id AND j.id = r.job_id
WHERE r.workspace_id = :workspace_id AND r.run_id = ANY (:run_ids::uuid[]) ORDER BY r.run_id FOR UPDATE OF r;

-- name: count_replayable(workspace_id, status, rule_id, error_class, since, until)$
-- Runs that may be replayed, by filter.
SELECT count(*) FROM datalane.automation_runs
WHERE workspace_id = :workspace_id AND status = :status AND (:rule_id::uuid IS NULL OR rule_id = :rule_id)
  AND (:error_class::text IS NULL OR error_class = :error_class)
  AND (:since::timestamptz IS NULL OR created_at >= :since)
  AND (:until::timestamptz IS NULL OR created_at < :until);

-- name: find_replayable(workspace_id, status, rule_id, error_class, since, until, most)
-- The first of them.
SELECT run_id FROM datalane.automation_runs
WHERE workspace_id = :workspace_id AND status = :status AND (:rule_id::uuid IS NULL OR rule_id = :rule_id)
  AND (:error_class::text IS NULL OR error_class = :error_class)
  AND (:since::timestamptz IS NULL OR created_at >= :since)
  AND (:until::timestamptz IS NULL OR created_at < :until)
ORDER BY run_id LIMIT :most;

-- name: put_back(workspace_id, run_ids, sources)!
-- Runs that wait to be taken up once more.
UPDATE datalane.automation_runs
SET status = 'pending', replay_count = replay_count + 1, ended_at = NULL, reason = NULL, error_class = NULL,
    error_message = NULL
WHERE workspace_id = :workspace_id AND run_id = ANY (:run_ids::uuid[]) AND status = ANY (:sources::text[]);
