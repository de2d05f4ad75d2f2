-- Finish: complete, fail, give back, extend, rescue. Every write names the lease token it holds; a token that is no
-- longer the job's writes nothing (fencing).

-- Move completed jobs to history and let the next of each ordering key run. Answers the ids that were completed.
CREATE OR REPLACE FUNCTION datalane.complete_core(workspaces uuid[], ids uuid[], tokens bigint[], at timestamptz)
RETURNS uuid[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    done uuid[]; ordered boolean;
BEGIN
    WITH gone AS (
        DELETE FROM datalane.jobs j USING unnest(workspaces, ids, tokens) AS t (workspace, id, token)
        WHERE j.workspace_id = t.workspace AND j.id = t.id AND j.lease_token = t.token AND j.status = 'processing'
        RETURNING j.workspace_id, j.id, j.kind, j.subject_id, j.priority, j.args, j.attempt_count, j.max_attempts,
                  j.rescue_count, j.queued_at, j.started_at, j.lease_token, j.leased_by, j.order_key, j.order_seq, j.idempotency_key,
                  j.correlation_id, j.causation_id, j.causation_depth, j.actor_id, j.parent_job_id, j.last_error_class,
                  j.last_error_message
    ), kept AS (
        INSERT INTO datalane.job_history (
            workspace_id, id, kind, subject_id, priority, args, attempt_count, max_attempts, rescue_count, queued_at,
            started_at, completed_at, lease_token, leased_by, order_key, order_seq, idempotency_key, correlation_id, causation_id,
            causation_depth, actor_id, parent_job_id, last_error_class, last_error_message)
        SELECT workspace_id, id, kind, subject_id, priority, args, attempt_count, max_attempts, rescue_count, queued_at,
               started_at, at, lease_token, leased_by, order_key, order_seq, idempotency_key, correlation_id, causation_id,
               causation_depth, actor_id, parent_job_id, last_error_class, last_error_message
        FROM gone
    )
    SELECT array_agg(gone.id), bool_or(gone.order_key IS NOT NULL) INTO done, ordered FROM gone;
    IF ordered THEN
        PERFORM datalane.advance_order(o.workspace_id, o.order_key, o.order_seq, at)
        FROM (SELECT h.workspace_id, h.order_key, h.order_seq
              FROM datalane.job_history h JOIN unnest(workspaces, ids) AS t (workspace, id)
                  ON h.workspace_id = t.workspace AND h.id = t.id
              WHERE h.id = ANY (done) AND h.order_key IS NOT NULL ORDER BY h.workspace_id, h.order_key) AS o;
    END IF;
    RETURN coalesce(done, '{}');
END $$;

-- The head of an ordering key is done or skipped: the next in line may run. Places given up before their turn are
-- passed over. The caller holds the row of the job at `seq`, so whether that is the head cannot change under it, and
-- nobody waits for the key's lock while holding the row of the next in line.
CREATE OR REPLACE FUNCTION datalane.advance_order(workspace uuid, key text, seq bigint, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    head bigint; following bigint;
BEGIN
    SELECT o.head_seq INTO head FROM datalane.job_order o WHERE o.workspace_id = workspace AND o.order_key = key;
    IF head IS DISTINCT FROM seq THEN
        RETURN;
    END IF;
    PERFORM FROM datalane.job_order o WHERE o.workspace_id = workspace AND o.order_key = key FOR UPDATE;
    SELECT min(j.order_seq) INTO following FROM datalane.jobs j
    WHERE j.workspace_id = workspace AND j.order_key = key AND j.order_seq > seq AND j.replayed_by IS NULL
      AND j.dead_letter_reason IS DISTINCT FROM 'canceled';
    UPDATE datalane.job_order o SET head_seq = coalesce(following, o.next_seq), touched_at = at
    WHERE o.workspace_id = workspace AND o.order_key = key;
    UPDATE datalane.jobs j SET shelf = CASE WHEN j.next_retry_at > at THEN 'due' ELSE 'ready' END
    WHERE j.workspace_id = workspace AND j.order_key = key AND j.order_seq = following AND j.shelf = 'order';
    IF NOT FOUND AND EXISTS (SELECT FROM datalane.jobs j WHERE j.workspace_id = workspace AND j.order_key = key
                             AND j.order_seq = following AND j.dead_letter_reason = 'canceled') THEN
        PERFORM datalane.advance_order(workspace, key, following, at);  -- canceled while we waited for its row
    END IF;
END $$;

-- Inside a tenant transaction: complete the jobs together with what they did. Raises lease_lost, which rolls the
-- transaction back, unless every job was still held.
CREATE OR REPLACE FUNCTION datalane.complete_jobs(ids uuid[], tokens bigint[], now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    done uuid[];
BEGIN
    PERFORM datalane.require_rank(2);
    PERFORM datalane.require_operator(ids);
    done := datalane.complete_core(array_fill(app.workspace_id(), ARRAY[cardinality(ids)]), ids, tokens,
                                   coalesce(now, clock_timestamp()));
    IF cardinality(done) < cardinality(ids) THEN
        RAISE EXCEPTION 'the lease of job % was lost', (SELECT i FROM unnest(ids) AS i WHERE i <> ALL (done) LIMIT 1)
            USING ERRCODE = 'DL410';
    END IF;
END $$;

-- For the worker: complete jobs of any workspaces. Answers the ids it still held.
CREATE OR REPLACE FUNCTION datalane.finish_jobs(
    workspaces uuid[], ids uuid[], tokens bigint[], now timestamptz DEFAULT NULL)
RETURNS uuid[] LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    SELECT datalane.complete_core(workspaces, ids, tokens, coalesce(now, clock_timestamp()))
$$;

-- One row of history for the start of the attempt that ends now, and one for how it ends.
CREATE OR REPLACE FUNCTION datalane.record_attempt(
    job datalane.jobs, to_status text, error_class text, error_message text, reason text, at timestamptz)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    INSERT INTO datalane.job_transitions (workspace_id, job_id, transition_id, claim, at, from_status, to_status, attempt,
                                          worker)
    VALUES ((job).workspace_id, (job).id, app.uuid7(), (job).lease_token, (job).started_at,
            CASE WHEN (job).lease_token > 1 THEN 'retrying' ELSE 'queued' END,
            'processing', (job).attempt_count, (job).leased_by);
    INSERT INTO datalane.job_transitions (workspace_id, job_id, transition_id, claim, at, from_status, to_status, attempt,
                                          worker, error_class, error_message, reason)
    VALUES ((job).workspace_id, (job).id, app.uuid7(), (job).lease_token, at, 'processing', to_status,
            (job).attempt_count, (job).leased_by, error_class, error_message, reason)
$$;

-- End a job's life as a dead letter: history row and event. At the limit of causation the event is told to handlers alone, and
-- past it there is none, so that nothing runs in a circle.
CREATE OR REPLACE FUNCTION datalane.bury_job(
    job datalane.jobs, from_status text, reason text, error_class text, error_message text, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    UPDATE datalane.jobs j
    SET status = 'dead_letter', dead_lettered_at = at, dead_letter_reason = reason, shelf = 'stopped', lease_until = NULL,
        last_error_class = coalesce(error_class, j.last_error_class),
        last_error_message = coalesce(error_message, j.last_error_message)
    WHERE j.workspace_id = (job).workspace_id AND j.id = (job).id;
    INSERT INTO datalane.job_transitions (workspace_id, job_id, transition_id, claim, at, from_status, to_status, attempt,
                                          error_class, error_message, reason)
    VALUES ((job).workspace_id, (job).id, app.uuid7(), (job).lease_token, at, from_status, 'dead_letter',
            (job).attempt_count, error_class, error_message, reason);
    IF (job).causation_depth <= datalane.causation_limit() THEN
        PERFORM datalane.publish_for(
            (job).workspace_id, (job).actor_id, (job).correlation_id, 'job.dead_lettered',
            jsonb_build_object('job_id', (job).id, 'kind', (job).kind, 'reason', reason, 'error_class', error_class,
                               'attempt_count', (job).attempt_count),
            (job).id::text, (job).causation_id, (job).causation_depth + 1, at);
    END IF;
END $$;

-- A handler failed. `retry_after` NULL says the error will not go away by itself: the job is `failed` until an operator
-- retries it. Otherwise the job retries after the delay, or becomes a dead letter when it was the last attempt.
-- Answers the new status, or NULL when the lease was lost.
CREATE OR REPLACE FUNCTION datalane.fail_job(
    workspace uuid, job_id uuid, token bigint, error_class text, error_message text, retry_after interval,
    now timestamptz DEFAULT NULL)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs;
BEGIN
    SELECT j.* INTO job FROM datalane.jobs j
    WHERE j.workspace_id = workspace AND j.id = job_id AND j.lease_token = token AND j.status = 'processing' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF retry_after IS NULL THEN
        PERFORM datalane.record_attempt(job, 'failed', error_class, error_message, NULL, at);
        UPDATE datalane.jobs j SET status = 'failed', shelf = 'stopped', lease_until = NULL, last_error_class = error_class,
                                   last_error_message = error_message
        WHERE j.workspace_id = workspace AND j.id = job_id;
        RETURN 'failed';
    END IF;
    PERFORM datalane.record_attempt(job, 'retrying', error_class, error_message, NULL, at);
    IF job.attempt_count >= job.max_attempts THEN
        PERFORM datalane.bury_job(job, 'retrying', 'attempts_exhausted', error_class, error_message, at);
        RETURN 'dead_letter';
    END IF;
    UPDATE datalane.jobs j
    SET status = 'retrying', lease_until = NULL, next_retry_at = at + retry_after,
        shelf = CASE WHEN retry_after > interval '0' THEN 'due' ELSE 'ready' END,
        last_error_class = error_class, last_error_message = error_message
    WHERE j.workspace_id = workspace AND j.id = job_id;
    RETURN 'retrying';
END $$;

-- The same inside a tenant transaction, so that a domain's record of the failure commits with it. Raises lease_lost.
CREATE OR REPLACE FUNCTION datalane.fail_job_here(
    job_id uuid, token bigint, error_class text, error_message text, retry_after interval, now timestamptz DEFAULT NULL)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    status text;
BEGIN
    PERFORM datalane.require_rank(2);
    PERFORM datalane.require_operator(ARRAY[job_id]);
    status := datalane.fail_job(app.workspace_id(), job_id, token, error_class, error_message, retry_after, now);
    IF status IS NULL THEN
        RAISE EXCEPTION 'the lease of job % was lost', job_id USING ERRCODE = 'DL410';
    END IF;
    RETURN status;
END $$;

-- Give claimed jobs back unharmed (a worker that stops): the attempt is not spent. Answers how many.
CREATE OR REPLACE FUNCTION datalane.release_jobs(
    workspaces uuid[], ids uuid[], tokens bigint[], now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; released integer := 0;
BEGIN
    FOR job IN
        SELECT j.* FROM datalane.jobs j JOIN unnest(workspaces, ids, tokens) AS t (workspace, id, token)
            ON j.workspace_id = t.workspace AND j.id = t.id AND j.lease_token = t.token
        WHERE j.status = 'processing' ORDER BY j.workspace_id, j.id FOR UPDATE OF j
    LOOP
        PERFORM datalane.record_attempt(job, 'retrying', NULL, NULL, 'released', at);
        UPDATE datalane.jobs j
        SET status = 'retrying', shelf = 'ready', lease_until = NULL, attempt_count = j.attempt_count - 1,
            next_retry_at = at
        WHERE j.workspace_id = job.workspace_id AND j.id = job.id;
        released := released + 1;
    END LOOP;
    RETURN released;
END $$;

-- Heartbeat: hold the leases for another `lease`; what runs this long leaves the ready shelf. Answers the ids still held;
-- the others were lost or canceled. A job that is being finished right now is held and not waited for.
CREATE OR REPLACE FUNCTION datalane.extend_leases(
    workspaces uuid[], ids uuid[], tokens bigint[], lease interval, now timestamptz DEFAULT NULL)
RETURNS uuid[] LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    WITH held AS MATERIALIZED (
        SELECT j.workspace_id, j.id FROM datalane.jobs j JOIN unnest(workspaces, ids, tokens) AS t (workspace, id, token)
            ON j.workspace_id = t.workspace AND j.id = t.id AND j.lease_token = t.token
        WHERE j.status = 'processing'
    ), free AS MATERIALIZED (
        SELECT j.workspace_id, j.id FROM datalane.jobs j JOIN unnest(workspaces, ids, tokens) AS t (workspace, id, token)
            ON j.workspace_id = t.workspace AND j.id = t.id AND j.lease_token = t.token
        WHERE j.status = 'processing' FOR UPDATE OF j SKIP LOCKED
    ), extended AS (
        UPDATE datalane.jobs j SET lease_until = coalesce(now, clock_timestamp()) + lease, shelf = 'held'
        FROM free WHERE j.workspace_id = free.workspace_id AND j.id = free.id
    )
    SELECT coalesce(array_agg(held.id), '{}') FROM held
$$;

-- Take a job back from a worker that was lost, or that lost the database: its attempt is unspent, and it is ready again
-- after `pause`. Past `bound` rescues it is a dead letter, since it seems to take its worker or the database down.
CREATE OR REPLACE FUNCTION datalane.rescue_job(
    job datalane.jobs, bound integer, error_class text, pause interval, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.record_attempt(job, 'retrying', error_class, NULL, 'rescued', at);
    IF job.rescue_count + 1 > bound THEN
        PERFORM datalane.bury_job(job, 'retrying', 'rescued_too_often', error_class,
                                  format('it was taken back from its worker %s times', job.rescue_count + 1), at);
        RETURN;
    END IF;
    UPDATE datalane.jobs j
    SET status = 'retrying', shelf = CASE WHEN pause > interval '0' THEN 'due' ELSE 'ready' END, lease_until = NULL,
        rescue_count = j.rescue_count + 1, attempt_count = j.attempt_count - 1, next_retry_at = at + pause,
        last_error_class = error_class
    WHERE j.workspace_id = job.workspace_id AND j.id = job.id;
END $$;

-- The sweep: held jobs whose worker is lost go back to ready. (Claims take over the lost jobs on the ready shelf by
-- themselves.) Answers how many were rescued.
CREATE OR REPLACE FUNCTION datalane.rescue_jobs(bound integer, most integer DEFAULT 500, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; rescued integer := 0;
BEGIN
    FOR job IN
        SELECT j.* FROM datalane.jobs j WHERE j.shelf = 'held' AND j.lease_until < at
        ORDER BY j.workspace_id, j.id LIMIT most FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM datalane.rescue_job(job, bound, 'lease_lost', interval '0', at);
        rescued := rescued + 1;
    END LOOP;
    RETURN rescued;
END $$;

-- A worker that had lost the database takes back what it holds but does not run: jobs whose transaction broke, and those
-- of a claim whose answer never came. What had committed all the same is no longer held. The first time a job is ready
-- at once; after that it waits, twice as long each time up to `lease`, as it may be the job that breaks the connection.
-- A row that an old session still has locked is being decided: it counts as undecided, to be asked about again.
CREATE OR REPLACE FUNCTION datalane.reclaim_jobs(
    worker text, running_workspaces uuid[], running_ids uuid[], bound integer, lease interval,
    now timestamptz DEFAULT NULL)
RETURNS TABLE (reclaimed integer, undecided integer) LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs;
BEGIN
    reclaimed := 0;
    FOR job IN
        SELECT j.* FROM datalane.jobs j
        WHERE j.leased_by = worker AND j.status = 'processing' AND NOT EXISTS (
            SELECT FROM unnest(running_workspaces, running_ids) AS r (workspace, id)
            WHERE r.workspace = j.workspace_id AND r.id = j.id)
        ORDER BY j.workspace_id, j.id FOR UPDATE OF j SKIP LOCKED
    LOOP
        PERFORM datalane.rescue_job(job, bound, 'database_unavailable', CASE job.rescue_count
            WHEN 0 THEN interval '0' ELSE least(lease, interval '1 second' * 2.0 ^ least(job.rescue_count - 1, 30)) END, at);
        reclaimed := reclaimed + 1;
    END LOOP;
    SELECT count(*) INTO undecided FROM datalane.jobs j
    WHERE j.leased_by = worker AND j.status = 'processing' AND NOT EXISTS (
        SELECT FROM unnest(running_workspaces, running_ids) AS r (workspace, id)
        WHERE r.workspace = j.workspace_id AND r.id = j.id);
    RETURN NEXT;
END $$;
