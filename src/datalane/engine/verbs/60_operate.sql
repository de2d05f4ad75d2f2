-- What an operator does: retry, replay, cancel, skip, pause. Each takes admin rank in the job's workspace and leaves an
-- audit record.

-- Kinds of jobs by which the lane does to a workspace what its own admins might rather not have done: settle and reconcile its access, and
-- take signals of it. Only the operator of the lane ends, brings back or pauses them.
CREATE OR REPLACE FUNCTION datalane.operators_kinds() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY['access.reconcile', 'access.settle', 'on:access.signaled'];

-- Who is not the operator of the lane is let through only when none of these jobs is of such a kind.
CREATE OR REPLACE FUNCTION datalane.require_operator(ids uuid[])
RETURNS void LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    IF current_setting('app.actor_role', true) IS DISTINCT FROM 'system' AND EXISTS (
        SELECT FROM datalane.jobs j
        WHERE j.workspace_id = app.workspace_id() AND j.id = ANY (ids) AND j.kind = ANY (datalane.operators_kinds())) THEN
        PERFORM datalane.require_rank(5);
    END IF;
END $$;

-- `failed` goes back to work in place, with one more attempt if it has none left.
CREATE OR REPLACE FUNCTION datalane.retry_jobs(ids uuid[], now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; retried integer := 0;
BEGIN
    PERFORM datalane.require_rank(3);
    PERFORM datalane.require_operator(ids);
    FOR job IN
        SELECT j.* FROM datalane.jobs j
        WHERE j.workspace_id = app.workspace_id() AND j.id = ANY (ids) AND j.status = 'failed' ORDER BY j.id FOR UPDATE
    LOOP
        UPDATE datalane.jobs j
        SET status = 'retrying', shelf = 'ready', next_retry_at = at, max_attempts = greatest(j.max_attempts, j.attempt_count + 1)
        WHERE j.workspace_id = job.workspace_id AND j.id = job.id;
        INSERT INTO datalane.job_transitions (workspace_id, job_id, transition_id, claim, at, from_status, to_status,
                                              attempt, reason)
        VALUES (job.workspace_id, job.id, app.uuid7(), job.lease_token, at, 'failed', 'retrying', job.attempt_count,
                'operator_retry');
        PERFORM datalane.audit('job.retried', 'job', job.id::text);
        retried := retried + 1;
    END LOOP;
    RETURN retried;
END $$;

-- Dead letters start again as new jobs: a new id and idempotency key, `parent_job_id` tells the lineage, an ordered job
-- takes its parent's place in line, or the last one when the line has passed it. A dead letter is replayed once; replay the new job if that dies too.
CREATE OR REPLACE FUNCTION datalane.replay_jobs(ids uuid[], now timestamptz DEFAULT NULL)
RETURNS TABLE (parent_id uuid, job_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; child uuid; head bigint;
BEGIN
    PERFORM datalane.require_rank(3);
    PERFORM datalane.require_operator(ids);
    FOR job IN
        SELECT j.* FROM datalane.jobs j
        WHERE j.workspace_id = app.workspace_id() AND j.id = ANY (ids) AND j.status = 'dead_letter'
          AND j.replayed_by IS NULL ORDER BY j.id FOR UPDATE
    LOOP
        child := app.uuid7();
        IF job.order_key IS NOT NULL THEN
            SELECT o.head_seq INTO head FROM datalane.job_order o
            WHERE o.workspace_id = job.workspace_id AND o.order_key = job.order_key;
            IF head IS NULL OR job.order_seq < head THEN
                INSERT INTO datalane.job_order AS o (workspace_id, order_key, next_seq, head_seq, touched_at)
                VALUES (job.workspace_id, job.order_key, 1, 0, at)
                ON CONFLICT (workspace_id, order_key) DO UPDATE SET next_seq = o.next_seq + 1, touched_at = at
                RETURNING o.next_seq - 1, o.head_seq INTO job.order_seq, head;
            END IF;
        END IF;
        UPDATE datalane.jobs j SET replayed_by = child WHERE j.workspace_id = job.workspace_id AND j.id = job.id;
        INSERT INTO datalane.jobs (workspace_id, id, kind, subject_id, priority, args, max_attempts, queued_at, next_retry_at,
                                   order_key, order_seq, shelf, idempotency_key, correlation_id, causation_id,
                                   causation_depth, actor_id, parent_job_id)
        VALUES (job.workspace_id, child, job.kind, job.subject_id, job.priority, job.args, job.max_attempts, at, at,
                job.order_key, job.order_seq,
                CASE WHEN job.order_key IS NOT NULL AND job.order_seq > head THEN 'order' ELSE 'ready' END,
                'replay:' || child, job.correlation_id, job.causation_id, job.causation_depth, job.actor_id, job.id);
        PERFORM datalane.audit('job.replayed', 'job', job.id::text, NULL, jsonb_build_object('job_id', child));
        parent_id := job.id;
        job_id := child;
        RETURN NEXT;
    END LOOP;
END $$;

-- Cancel whatever has not ended: the job becomes a dead letter with reason `canceled`, a running handler loses its
-- lease, and the next job of its ordering key may run. Answers how many.
CREATE OR REPLACE FUNCTION datalane.cancel_jobs(ids uuid[], now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; canceled integer := 0;
BEGIN
    PERFORM datalane.require_rank(3);
    PERFORM datalane.require_operator(ids);
    FOR job IN
        SELECT j.* FROM datalane.jobs j
        WHERE j.workspace_id = app.workspace_id() AND j.id = ANY (ids) AND j.status <> 'dead_letter' ORDER BY j.id FOR UPDATE
    LOOP
        IF job.status = 'processing' THEN
            PERFORM datalane.record_attempt(job, 'retrying', NULL, NULL, 'canceled', at);
            job.status := 'retrying';
        END IF;
        PERFORM datalane.bury_job(job, job.status, 'canceled', NULL, NULL, at);
        PERFORM datalane.audit('job.canceled', 'job', job.id::text);
        IF job.order_key IS NOT NULL THEN
            PERFORM datalane.advance_order(job.workspace_id, job.order_key, job.order_seq, at);
        END IF;
        canceled := canceled + 1;
    END LOOP;
    RETURN canceled;
END $$;

-- Let the jobs behind a dead or failed head of an ordering key go on without it. Answers whether it was the head.
CREATE OR REPLACE FUNCTION datalane.skip_job(job_id uuid, now timestamptz DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; head bigint;
BEGIN
    PERFORM datalane.require_rank(3);
    PERFORM datalane.require_operator(ARRAY[job_id]);
    SELECT j.* INTO job FROM datalane.jobs j
    WHERE j.workspace_id = app.workspace_id() AND j.id = job_id AND j.status IN ('dead_letter', 'failed')
      AND j.order_key IS NOT NULL FOR UPDATE;
    SELECT o.head_seq INTO head FROM datalane.job_order o
    WHERE o.workspace_id = job.workspace_id AND o.order_key = job.order_key;
    IF job.id IS NULL OR head IS DISTINCT FROM job.order_seq THEN
        RETURN false;
    END IF;
    IF job.status = 'failed' THEN
        PERFORM datalane.bury_job(job, 'failed', 'skipped', NULL, NULL, at);
    END IF;
    PERFORM datalane.advance_order(job.workspace_id, job.order_key, job.order_seq, at);
    PERFORM datalane.audit('job.skipped', 'job', job_id::text);
    RETURN true;
END $$;

-- Pause and resume one kind of the context's workspace, or all of it (`*`) but the kinds that are the operator's, who pauses those by
-- name. Claims heed it at once.
CREATE OR REPLACE FUNCTION datalane.pause_jobs(kind text DEFAULT '*')
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
BEGIN
    PERFORM datalane.require_rank(3);
    IF kind = ANY (datalane.operators_kinds()) THEN
        PERFORM datalane.require_rank(5);
    END IF;
    INSERT INTO datalane.job_pauses (workspace_id, kind, actor_id) VALUES (app.workspace_id(), kind, app.actor_id())
    ON CONFLICT DO NOTHING;
    PERFORM datalane.audit('jobs.paused', 'job_kind', kind);
END $$;

CREATE OR REPLACE FUNCTION datalane.resume_jobs(kind text DEFAULT '*')
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.require_rank(3);
    IF kind = ANY (datalane.operators_kinds()) THEN
        PERFORM datalane.require_rank(5);
    END IF;
    DELETE FROM datalane.job_pauses p WHERE p.workspace_id = app.workspace_id() AND p.kind = resume_jobs.kind;
    PERFORM datalane.audit('jobs.resumed', 'job_kind', resume_jobs.kind);
END $$;

-- The same for a kind in every workspace; the worker role's, so no tenant can. There is no context to ask who it is, so the
-- caller says it; the audit record is the reserved workspace's.
CREATE OR REPLACE FUNCTION datalane.pause_kind_everywhere(kind text, actor uuid, correlation text)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    INSERT INTO datalane.job_pauses (workspace_id, kind, actor_id)
    VALUES ('00000000-0000-0000-0000-000000000000', kind, actor) ON CONFLICT DO NOTHING;
    SELECT datalane.audit_for('00000000-0000-0000-0000-000000000000', actor, correlation, 'jobs.paused', 'job_kind', kind)
$$;

CREATE OR REPLACE FUNCTION datalane.resume_kind_everywhere(kind text, actor uuid, correlation text)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    DELETE FROM datalane.job_pauses p
    WHERE p.workspace_id = '00000000-0000-0000-0000-000000000000' AND p.kind = resume_kind_everywhere.kind;
    SELECT datalane.audit_for('00000000-0000-0000-0000-000000000000', actor, correlation, 'jobs.resumed', 'job_kind', kind)
$$;
