-- name: create_tables()#
-- A job table with the columns of the product's, one index for ready work, no row security, no constraints beyond the key.
CREATE TABLE plain_jobs (
    workspace_id uuid NOT NULL, id uuid NOT NULL DEFAULT uuidv7(), kind text NOT NULL, subject_id text,
    status text NOT NULL DEFAULT 'queued', waiting text, priority smallint NOT NULL DEFAULT 0, args jsonb NOT NULL,
    attempt_count integer NOT NULL DEFAULT 0, max_attempts integer NOT NULL DEFAULT 3,
    rescue_count integer NOT NULL DEFAULT 0, queued_at timestamptz NOT NULL DEFAULT now(), started_at timestamptz,
    next_retry_at timestamptz NOT NULL DEFAULT now(), lease_token bigint NOT NULL DEFAULT 0, lease_until timestamptz,
    leased_by text, order_key text, order_seq bigint, idempotency_key text, correlation_id text NOT NULL,
    causation_id uuid, causation_depth integer NOT NULL DEFAULT 0, actor_id uuid NOT NULL, parent_job_id uuid,
    replayed_by uuid, last_error_class text, last_error_message text, dead_lettered_at timestamptz,
    dead_letter_reason text, completed_at timestamptz,
    PRIMARY KEY (workspace_id, id)
);
CREATE INDEX plain_jobs_ready ON plain_jobs (next_retry_at, id) WHERE status IN ('queued', 'retrying');
CREATE TABLE plain_history (LIKE plain_jobs INCLUDING DEFAULTS, PRIMARY KEY (workspace_id, id));

-- name: insert_jobs(workspaces, numbers)!
-- One batch of queued jobs.
INSERT INTO plain_jobs (workspace_id, kind, args, correlation_id, actor_id)
SELECT workspace_id, 'bench', jsonb_build_object('n', n), 'bench', workspace_id
FROM unnest(:workspaces::uuid[], :numbers::bigint[]) AS batch (workspace_id, n);

-- name: claim_jobs(batch)
-- Lease the oldest ready jobs.
UPDATE plain_jobs SET status = 'processing', attempt_count = attempt_count + 1, started_at = now(),
                      lease_until = now() + interval '60 seconds', lease_token = lease_token + 1, leased_by = 'bench'
WHERE (workspace_id, id) IN (
    SELECT workspace_id, id FROM plain_jobs
    WHERE status IN ('queued', 'retrying') AND next_retry_at <= now()
    ORDER BY next_retry_at, id LIMIT :batch FOR UPDATE SKIP LOCKED)
RETURNING workspace_id, id, kind, args, attempt_count, lease_token, correlation_id, actor_id;

-- name: complete_jobs(workspaces, ids, tokens)!
-- Move leased jobs to history; the token fences a stale worker.
WITH done AS (
    DELETE FROM plain_jobs j
    USING unnest(:workspaces::uuid[], :ids::uuid[], :tokens::bigint[]) AS held (workspace_id, id, lease_token)
    WHERE j.workspace_id = held.workspace_id AND j.id = held.id AND j.lease_token = held.lease_token
    RETURNING j.workspace_id, j.id, j.kind, j.subject_id, j.priority, j.args, j.attempt_count, j.max_attempts,
              j.rescue_count, j.queued_at, j.started_at, j.next_retry_at, j.lease_token, j.order_key, j.order_seq,
              j.idempotency_key, j.correlation_id, j.causation_id, j.causation_depth, j.actor_id, j.parent_job_id)
INSERT INTO plain_history (workspace_id, id, kind, subject_id, status, priority, args, attempt_count, max_attempts,
                           rescue_count, queued_at, started_at, next_retry_at, lease_token, order_key, order_seq,
                           idempotency_key, correlation_id, causation_id, causation_depth, actor_id, parent_job_id,
                           completed_at)
SELECT workspace_id, id, kind, subject_id, 'completed', priority, args, attempt_count, max_attempts, rescue_count,
       queued_at, started_at, next_retry_at, lease_token, order_key, order_seq, idempotency_key, correlation_id,
       causation_id, causation_depth, actor_id, parent_job_id, now()
FROM done;
