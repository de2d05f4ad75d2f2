-- name: publish_batch(event_types, versions, payloads, source_systems, source_event_ids, subject_ids, occurred_ats, actor_id, correlation_id, causation_id, causation_depth, signature_verified, dedupe_window)
-- Store events with their fan-out; one row an event.
SELECT event_id, ingestion_status
FROM datalane.publish_batch(
    :event_types::text[], :versions::integer[], (:payloads::text[])::jsonb[], :source_systems::text[],
    :source_event_ids::text[], :subject_ids::text[], :occurred_ats::timestamptz[], :actor_id::uuid,
    :correlation_id::text, :causation_id::uuid, :causation_depth::integer, :signature_verified::boolean,
    :dedupe_window::interval)
ORDER BY ordinal;

-- name: publish_event(event_type, payload, version, source_system, source_event_id, subject_id, occurred_at, actor_id, correlation_id, causation_id, causation_depth, signature_verified, dedupe_window)^
-- Store one event with its fan-out.
SELECT event_id, ingestion_status
FROM datalane.publish_event(
    :event_type::text, (:payload::text)::jsonb, :version::integer, :source_system::text, :source_event_id::text,
    :subject_id::text, :occurred_at::timestamptz, :actor_id::uuid, :correlation_id::text, :causation_id::uuid,
    :causation_depth::integer, :signature_verified::boolean, :dedupe_window::interval);

-- name: record_rejections(event_types, source_systems, source_event_ids, statuses, details)!
-- Lines in the ingestion log of events that were not taken.
SELECT datalane.record_rejection(r.event_type, r.source_system, r.source_event_id, r.status, r.detail)
FROM unnest(:event_types::text[], :source_systems::text[], :source_event_ids::text[], :statuses::text[], :details::text[])
    AS r (event_type, source_system, source_event_id, status, detail);

-- name: enqueue_batch(kinds, args, subject_ids, priorities, run_ats, order_keys, idempotency_keys, max_attempts, actor_id, correlation_id, causation_id, causation_depth)
-- Store jobs; one row a job.
SELECT job_id, created
FROM datalane.enqueue_batch(
    :kinds::text[], (:args::text[])::jsonb[], :subject_ids::text[], :priorities::integer[], :run_ats::timestamptz[],
    :order_keys::text[], :idempotency_keys::text[], :max_attempts::integer[], :actor_id::uuid, :correlation_id::text,
    :causation_id::uuid, :causation_depth::integer)
ORDER BY ordinal;

-- name: enqueue_job(kind, args, subject_id, priority, run_at, max_attempts, actor_id, correlation_id, causation_id, causation_depth)$
-- Store one job without keys; its id.
SELECT datalane.enqueue_job(
    :kind::text, (:args::text)::jsonb, :subject_id::text, :priority::integer, :run_at::timestamptz, :max_attempts::integer,
    :actor_id::uuid, :correlation_id::text, :causation_id::uuid, :causation_depth::integer);

-- name: get_event(workspace_id, event_id)^
-- One stored event.
SELECT event_id, event_type, version, source_system, source_event_id, subject_id, actor_id, occurred_at, received_at,
       correlation_id, causation_id, causation_depth, payload, signature_verified, ingestion_status
FROM datalane.events WHERE workspace_id = :workspace_id AND event_id = :event_id;

-- name: get_job(workspace_id, job_id)^
-- One job, wherever it is in its life.
SELECT workspace_id, id, kind, subject_id, status, priority, attempt_count, max_attempts, rescue_count, queued_at,
       started_at, NULL::timestamptz AS completed_at, next_retry_at, dead_lettered_at, dead_letter_reason,
       last_error_class, last_error_message, idempotency_key, correlation_id, parent_job_id, replayed_by, order_key, args
FROM datalane.jobs WHERE workspace_id = :workspace_id AND id = :job_id
UNION ALL
SELECT workspace_id, id, kind, subject_id, status, priority, attempt_count, max_attempts, rescue_count, queued_at,
       started_at, completed_at, NULL, NULL, NULL, last_error_class, last_error_message, idempotency_key,
       correlation_id, parent_job_id, NULL, order_key, args
FROM datalane.job_history WHERE workspace_id = :workspace_id AND id = :job_id;

-- name: list_jobs(workspace_id, statuses, kind, error_class, subject_id, correlation_id, after, page_size)
-- Jobs that have not completed, newest first.
SELECT workspace_id, id, kind, subject_id, status, priority, attempt_count, max_attempts, rescue_count, queued_at,
       started_at, NULL::timestamptz AS completed_at, next_retry_at, dead_lettered_at, dead_letter_reason,
       last_error_class, last_error_message, idempotency_key, correlation_id, parent_job_id, replayed_by, order_key, args
FROM datalane.jobs
WHERE workspace_id = :workspace_id AND status = ANY (:statuses::text[]) AND (:after::uuid IS NULL OR id < :after)
  AND (:kind::text IS NULL OR kind = :kind) AND (:error_class::text IS NULL OR last_error_class = :error_class)
  AND (:subject_id::text IS NULL OR subject_id = :subject_id)
  AND (:correlation_id::text IS NULL OR correlation_id = :correlation_id)
ORDER BY id DESC LIMIT :page_size;

-- name: list_completed_jobs(workspace_id, kind, error_class, subject_id, correlation_id, after, page_size)
-- Completed jobs, newest first.
SELECT workspace_id, id, kind, subject_id, status, priority, attempt_count, max_attempts, rescue_count, queued_at,
       started_at, completed_at, NULL::timestamptz AS next_retry_at, NULL::timestamptz AS dead_lettered_at,
       NULL::text AS dead_letter_reason, last_error_class, last_error_message, idempotency_key, correlation_id,
       parent_job_id, NULL::uuid AS replayed_by, order_key, args
FROM datalane.job_history
WHERE workspace_id = :workspace_id AND (:after::uuid IS NULL OR id < :after)
  AND (:kind::text IS NULL OR kind = :kind) AND (:error_class::text IS NULL OR last_error_class = :error_class)
  AND (:subject_id::text IS NULL OR subject_id = :subject_id)
  AND (:correlation_id::text IS NULL OR correlation_id = :correlation_id)
ORDER BY id DESC LIMIT :page_size;

-- name: list_job_changes(workspace_id, job_id)
-- Every status change of a job, in order.
SELECT at, from_status, to_status, attempt, worker, error_class, error_message, reason
FROM datalane.job_changes WHERE workspace_id = :workspace_id AND job_id = :job_id ORDER BY claim, step;

-- name: find_job_ids(workspace_id, statuses, kind, error_class, before, most)
-- Ids of stopped jobs by filter, oldest first, replayed ones left out.
SELECT id FROM datalane.jobs
WHERE workspace_id = :workspace_id AND shelf = 'stopped' AND status = ANY (:statuses::text[]) AND replayed_by IS NULL
  AND (:kind::text IS NULL OR kind = :kind) AND (:error_class::text IS NULL OR last_error_class = :error_class)
  AND (:before::timestamptz IS NULL OR queued_at < :before)
ORDER BY id LIMIT :most;

-- name: retry_jobs(ids)$
-- Put failed jobs back to work.
SELECT datalane.retry_jobs(:ids::uuid[]);

-- name: replay_jobs(ids)
-- Start dead letters again as new jobs.
SELECT parent_id, job_id FROM datalane.replay_jobs(:ids::uuid[]);

-- name: cancel_jobs(ids)$
-- Cancel jobs that have not ended.
SELECT datalane.cancel_jobs(:ids::uuid[]);

-- name: skip_job(job_id)$
-- Let an ordering key go on without its stopped head.
SELECT datalane.skip_job(:job_id::uuid);

-- name: pause_jobs(kind)$
-- Pause a kind of this workspace.
SELECT datalane.pause_jobs(:kind::text);

-- name: resume_jobs(kind)$
-- Resume a kind of this workspace.
SELECT datalane.resume_jobs(:kind::text);

-- name: put_schedule(workspace_id, name, kind, cron, timezone, args, next_run_at, actor_id)!
-- Create or replace a schedule.
INSERT INTO datalane.job_schedules (workspace_id, name, kind, cron, timezone, args, next_run_at, actor_id)
VALUES (:workspace_id, :name, :kind, :cron, :timezone, :args, :next_run_at, :actor_id)
ON CONFLICT (workspace_id, name) DO UPDATE
SET kind = EXCLUDED.kind, cron = EXCLUDED.cron, timezone = EXCLUDED.timezone, args = EXCLUDED.args,
    next_run_at = EXCLUDED.next_run_at, actor_id = EXCLUDED.actor_id, enabled = true;

-- name: list_schedules(workspace_id)
-- The workspace's schedules.
SELECT name, kind, cron, timezone, args, enabled, next_run_at, last_run_at
FROM datalane.job_schedules WHERE workspace_id = :workspace_id ORDER BY name;

-- name: set_schedule_enabled(workspace_id, name, enabled)!
-- Switch a schedule on or off.
UPDATE datalane.job_schedules SET enabled = :enabled WHERE workspace_id = :workspace_id AND name = :name;

-- name: find_chosen(workspace_id, ids)
-- The jobs of these ids, wherever they are in their lives.
SELECT id, status, replayed_by, kind = ANY (datalane.operators_kinds()) AS of_lane
FROM datalane.jobs WHERE workspace_id = :workspace_id AND id = ANY (:ids::uuid[])
UNION ALL
SELECT id, status, NULL, kind = ANY (datalane.operators_kinds())
FROM datalane.job_history WHERE workspace_id = :workspace_id AND id = ANY (:ids::uuid[]);

-- name: is_of_lane(kind)$
-- Whether jobs of the kind are the operator's.
SELECT :kind::text = ANY (datalane.operators_kinds());

-- name: count_matching(workspace_id, statuses, kind, error_class, before, with_lanes)$
-- How many jobs a filter matches, replayed ones left out, and those that are the operator's where they are not asked for.
SELECT count(*) FROM datalane.jobs
WHERE workspace_id = :workspace_id AND status = ANY (:statuses::text[]) AND replayed_by IS NULL
  AND (:kind::text IS NULL OR kind = :kind) AND (:error_class::text IS NULL OR last_error_class = :error_class)
  AND (:before::timestamptz IS NULL OR queued_at < :before)
  AND (:with_lanes::boolean OR kind <> ALL (datalane.operators_kinds()));

-- name: find_matching(workspace_id, statuses, kind, error_class, before, with_lanes, most)
-- The oldest of them.
SELECT id FROM datalane.jobs
WHERE workspace_id = :workspace_id AND status = ANY (:statuses::text[]) AND replayed_by IS NULL
  AND (:kind::text IS NULL OR kind = :kind) AND (:error_class::text IS NULL OR last_error_class = :error_class)
  AND (:before::timestamptz IS NULL OR queued_at < :before)
  AND (:with_lanes::boolean OR kind <> ALL (datalane.operators_kinds()))
ORDER BY id LIMIT :most;
