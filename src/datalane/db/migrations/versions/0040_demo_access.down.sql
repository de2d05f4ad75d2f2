SET LOCAL ROLE datalane_definer;
DROP FUNCTION datalane.sweep_demo_access;
DROP FUNCTION datalane.ask_for_access;
DROP FUNCTION datalane.note_access_difference;
DROP FUNCTION datalane.lock_demo_access;
DROP FUNCTION datalane.release_access_signals;
DROP FUNCTION datalane.read_access_notes;
DROP FUNCTION datalane.settle_demo_access;
DROP FUNCTION datalane.record_access_signals;
DROP FUNCTION datalane.is_same_signal;
DROP FUNCTION datalane.settle_access;
DROP FUNCTION datalane.settle_access_plan;
DROP FUNCTION datalane.close_access_plan;
DROP FUNCTION datalane.assign_access_plan;
DROP FUNCTION datalane.pick_access_plan;
DROP FUNCTION datalane.tell_of_access;
DROP FUNCTION datalane.hold_access;
DROP FUNCTION datalane.write_access_history;
DROP FUNCTION datalane.fold_demo_access;
DROP FUNCTION datalane.access_signals_in_order;
DROP FUNCTION datalane.access_deadline;
DROP FUNCTION datalane.access_fall;
DROP FUNCTION datalane.access_rule;
-- The verbs as the release before has them.
CREATE OR REPLACE FUNCTION datalane.enqueue_batch(
    kinds text[], args jsonb[], subject_ids text[] DEFAULT NULL, priorities integer[] DEFAULT NULL,
    run_ats timestamptz[] DEFAULT NULL, order_keys text[] DEFAULT NULL, idempotency_keys text[] DEFAULT NULL,
    max_attempts integer[] DEFAULT NULL, actor_id uuid DEFAULT NULL, correlation_id text DEFAULT NULL,
    causation_id uuid DEFAULT NULL, causation_depth integer DEFAULT 0, now timestamptz DEFAULT NULL)
RETURNS TABLE (ordinal bigint, job_id uuid, created boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
BEGIN
    PERFORM datalane.require_rank(2);
    IF kinds && datalane.admins_kinds() THEN
        PERFORM datalane.require_rank(3);
    END IF;
    IF causation_depth > datalane.causation_limit() THEN
        RAISE EXCEPTION 'causation depth % is over the limit of % (limits.causation_depth): this work causes itself',
            causation_depth, datalane.causation_limit() USING ERRCODE = 'DL413';
    END IF;
    IF EXISTS (SELECT FROM unnest(kinds) AS k (kind) WHERE k.kind IS NULL OR k.kind = '') THEN
        RAISE EXCEPTION 'a job needs a kind' USING ERRCODE = 'DL400';
    END IF;
    RETURN QUERY SELECT e.ordinal, e.job_id, e.created FROM datalane.enqueue_core(
        app.workspace_id(), kinds, args, subject_ids, priorities, run_ats, order_keys, idempotency_keys, max_attempts,
        coalesce(actor_id, app.actor_id()), coalesce(correlation_id, app.correlation_id()),
        causation_id, causation_depth, NULL, coalesce(now, clock_timestamp())) AS e;
END $$;

CREATE OR REPLACE FUNCTION datalane.enqueue_job(
    kind text, args jsonb DEFAULT '{}', subject_id text DEFAULT NULL, priority integer DEFAULT 0,
    run_at timestamptz DEFAULT NULL, max_attempts integer DEFAULT NULL, actor_id uuid DEFAULT NULL,
    correlation_id text DEFAULT NULL, causation_id uuid DEFAULT NULL, causation_depth integer DEFAULT 0,
    now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    id constant uuid := app.uuid7();
    at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    PERFORM datalane.require_rank(2);
    IF kind = ANY (datalane.admins_kinds()) THEN
        PERFORM datalane.require_rank(3);
    END IF;
    IF causation_depth > datalane.causation_limit() THEN
        RAISE EXCEPTION 'causation depth % is over the limit of % (limits.causation_depth): this work causes itself',
            causation_depth, datalane.causation_limit() USING ERRCODE = 'DL413';
    END IF;
    IF kind IS NULL OR kind = '' THEN
        RAISE EXCEPTION 'a job needs a kind' USING ERRCODE = 'DL400';
    END IF;
    INSERT INTO datalane.jobs (workspace_id, id, kind, subject_id, shelf, priority, args, max_attempts, queued_at,
                               next_retry_at, correlation_id, causation_id, causation_depth, actor_id)
    VALUES (app.workspace_id(), id, kind, subject_id, CASE WHEN run_at > at THEN 'due' ELSE 'ready' END,
            coalesce(priority, 0), coalesce(args, '{}'), coalesce(max_attempts, datalane.default_attempts()), at,
            coalesce(run_at, at), coalesce(correlation_id, app.correlation_id()), causation_id, causation_depth,
            coalesce(actor_id, app.actor_id()));
    RETURN id;
END $$;

CREATE OR REPLACE FUNCTION datalane.ready_lanes(
    kinds text[], lanes integer, after_workspace uuid, after_kind text)
RETURNS TABLE (workspace_id uuid, kind text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY WITH RECURSIVE walk AS (
        (SELECT j.workspace_id, j.kind FROM datalane.jobs j
         WHERE j.shelf = 'ready' AND (j.workspace_id, j.kind) > (after_workspace, after_kind)
         ORDER BY j.workspace_id, j.kind LIMIT 1)
        UNION ALL
        SELECT following.workspace_id, following.kind FROM walk CROSS JOIN LATERAL (
            SELECT j.workspace_id, j.kind FROM datalane.jobs j
            WHERE j.shelf = 'ready' AND (j.workspace_id, j.kind) > (walk.workspace_id, walk.kind)
            ORDER BY j.workspace_id, j.kind LIMIT 1) following
    )
    SELECT walk.workspace_id, walk.kind FROM walk
    WHERE walk.kind = ANY (kinds) AND NOT EXISTS (
        SELECT FROM datalane.job_pauses p
        WHERE p.workspace_id IN (walk.workspace_id, '00000000-0000-0000-0000-000000000000')
          AND p.kind IN (walk.kind, '*'))
    LIMIT lanes;
END $$;

CREATE OR REPLACE FUNCTION datalane.complete_jobs(ids uuid[], tokens bigint[], now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    done uuid[];
BEGIN
    PERFORM datalane.require_rank(2);
    done := datalane.complete_core(array_fill(app.workspace_id(), ARRAY[cardinality(ids)]), ids, tokens,
                                   coalesce(now, clock_timestamp()));
    IF cardinality(done) < cardinality(ids) THEN
        RAISE EXCEPTION 'the lease of job % was lost', (SELECT i FROM unnest(ids) AS i WHERE i <> ALL (done) LIMIT 1)
            USING ERRCODE = 'DL410';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION datalane.fail_job_here(
    job_id uuid, token bigint, error_class text, error_message text, retry_after interval, now timestamptz DEFAULT NULL)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    status text;
BEGIN
    PERFORM datalane.require_rank(2);
    status := datalane.fail_job(app.workspace_id(), job_id, token, error_class, error_message, retry_after, now);
    IF status IS NULL THEN
        RAISE EXCEPTION 'the lease of job % was lost', job_id USING ERRCODE = 'DL410';
    END IF;
    RETURN status;
END $$;

CREATE OR REPLACE FUNCTION datalane.complete_job(job_id uuid, token bigint, now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off AS $$
DECLARE
    workspace constant uuid := app.workspace_id();
    at constant timestamptz := coalesce(now, clock_timestamp());
    done datalane.jobs;
BEGIN
    PERFORM datalane.require_rank(2);
    DELETE FROM datalane.jobs j
    WHERE j.workspace_id = workspace AND j.id = job_id AND j.lease_token = token AND j.status = 'processing'
    RETURNING j.* INTO done;
    IF done.id IS NULL THEN
        RAISE EXCEPTION 'the lease of job % was lost', job_id USING ERRCODE = 'DL410';
    END IF;
    INSERT INTO datalane.job_history (
        workspace_id, id, kind, subject_id, priority, args, attempt_count, max_attempts, rescue_count, queued_at,
        started_at, completed_at, lease_token, leased_by, order_key, order_seq, idempotency_key, correlation_id, causation_id,
        causation_depth, actor_id, parent_job_id, last_error_class, last_error_message)
    VALUES (
        workspace, done.id, done.kind, done.subject_id, done.priority, done.args, done.attempt_count, done.max_attempts,
        done.rescue_count, done.queued_at, done.started_at, at, done.lease_token, done.leased_by, done.order_key,
        done.order_seq, done.idempotency_key, done.correlation_id, done.causation_id, done.causation_depth, done.actor_id,
        done.parent_job_id, done.last_error_class, done.last_error_message);
    IF done.order_key IS NOT NULL THEN
        PERFORM datalane.advance_order(workspace, done.order_key, done.order_seq, at);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION datalane.retry_jobs(ids uuid[], now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; retried integer := 0;
BEGIN
    PERFORM datalane.require_rank(3);
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

CREATE OR REPLACE FUNCTION datalane.replay_jobs(ids uuid[], now timestamptz DEFAULT NULL)
RETURNS TABLE (parent_id uuid, job_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; child uuid; head bigint;
BEGIN
    PERFORM datalane.require_rank(3);
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

CREATE OR REPLACE FUNCTION datalane.cancel_jobs(ids uuid[], now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; canceled integer := 0;
BEGIN
    PERFORM datalane.require_rank(3);
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

CREATE OR REPLACE FUNCTION datalane.skip_job(job_id uuid, now timestamptz DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; head bigint;
BEGIN
    PERFORM datalane.require_rank(3);
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

CREATE OR REPLACE FUNCTION datalane.pause_jobs(kind text DEFAULT '*')
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
BEGIN
    PERFORM datalane.require_rank(3);
    INSERT INTO datalane.job_pauses (workspace_id, kind, actor_id) VALUES (app.workspace_id(), kind, app.actor_id())
    ON CONFLICT DO NOTHING;
    PERFORM datalane.audit('jobs.paused', 'job_kind', kind);
END $$;

CREATE OR REPLACE FUNCTION datalane.resume_jobs(kind text DEFAULT '*')
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.require_rank(3);
    DELETE FROM datalane.job_pauses p WHERE p.workspace_id = app.workspace_id() AND p.kind = resume_jobs.kind;
    PERFORM datalane.audit('jobs.resumed', 'job_kind', resume_jobs.kind);
END $$;
DROP FUNCTION datalane.require_operator;
DROP FUNCTION datalane.operators_kinds;
SET LOCAL ROLE datalane_owner;
DROP TABLE datalane.access_history;
DROP TABLE datalane.access_notes;
DROP TABLE datalane.access_signals;
DROP TABLE datalane.demo_access;
