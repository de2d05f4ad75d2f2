-- name: list_jobs(statuses, kind, error_class, subject_id, correlation_id, most)
-- For the operator: jobs of every workspace that have not completed, newest first.
SELECT workspace_id, id, kind, subject_id, status, attempt_count, max_attempts, queued_at, started_at,
       NULL::timestamptz AS completed_at, next_retry_at, dead_letter_reason, last_error_class, leased_by, correlation_id,
       parent_job_id, replayed_by
FROM datalane.jobs
WHERE status = ANY (:statuses::text[]) AND (:kind::text IS NULL OR kind = :kind)
  AND (:error_class::text IS NULL OR last_error_class = :error_class)
  AND (:subject_id::text IS NULL OR subject_id = :subject_id)
  AND (:correlation_id::text IS NULL OR correlation_id = :correlation_id)
ORDER BY id DESC LIMIT :most;

-- name: list_completed_jobs(kind, error_class, subject_id, correlation_id, most)
-- For the operator: completed jobs of every workspace, newest first.
SELECT workspace_id, id, kind, subject_id, status, attempt_count, max_attempts, queued_at, started_at, completed_at,
       NULL::timestamptz AS next_retry_at, NULL::text AS dead_letter_reason, last_error_class, leased_by, correlation_id,
       parent_job_id, NULL::uuid AS replayed_by
FROM datalane.job_history
WHERE (:kind::text IS NULL OR kind = :kind) AND (:error_class::text IS NULL OR last_error_class = :error_class)
  AND (:subject_id::text IS NULL OR subject_id = :subject_id)
  AND (:correlation_id::text IS NULL OR correlation_id = :correlation_id)
ORDER BY id DESC LIMIT :most;

-- name: locate_jobs(ids)
-- For the operator: in which workspaces jobs are, wherever they are in their lives.
SELECT workspace_id, id FROM datalane.jobs WHERE id = ANY (:ids::uuid[])
UNION ALL
SELECT workspace_id, id FROM datalane.job_history WHERE id = ANY (:ids::uuid[]);

-- name: count_matching(statuses, kind, error_class, until)
-- For the operator: how many jobs a filter matches, by workspace. Dead letters replayed already are left out.
SELECT workspace_id, count(*) AS jobs FROM datalane.jobs
WHERE status = ANY (:statuses::text[]) AND replayed_by IS NULL AND id < :until
  AND (:kind::text IS NULL OR kind = :kind) AND (:error_class::text IS NULL OR last_error_class = :error_class)
GROUP BY workspace_id ORDER BY workspace_id;

-- name: count_matching_here(workspace_id, statuses, kind, error_class, until)$
-- The same inside one workspace.
SELECT count(*) FROM datalane.jobs
WHERE workspace_id = :workspace_id AND status = ANY (:statuses::text[]) AND replayed_by IS NULL AND id < :until
  AND (:kind::text IS NULL OR kind = :kind) AND (:error_class::text IS NULL OR last_error_class = :error_class);

-- name: find_matching_here(workspace_id, statuses, kind, error_class, after, until, most)
-- A page of the jobs of one workspace that a filter matches, oldest first.
SELECT id FROM datalane.jobs
WHERE workspace_id = :workspace_id AND status = ANY (:statuses::text[]) AND replayed_by IS NULL
  AND id > :after AND id < :until
  AND (:kind::text IS NULL OR kind = :kind) AND (:error_class::text IS NULL OR last_error_class = :error_class)
ORDER BY id LIMIT :most;
