SET LOCAL ROLE datalane_definer;

-- Enqueue one job: what `enqueue_batch` does for many and with keys, at a fraction of the cost.

-- Inside a tenant transaction. Answers the job's id. Without `max_attempts` the job has the lane's default.
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

-- Complete one job: what `complete_jobs` does for many, at half the cost where a transaction holds one job only, which is
-- how work that is spread thinly over many workspaces comes.

-- Inside a tenant transaction. Raises lease_lost, which rolls the transaction back, unless the job was still held.
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

-- Who may call what. Everything not named here is for the verbs among themselves.

GRANT EXECUTE ON FUNCTION
    datalane.audit(text, text, text, jsonb, jsonb),
    datalane.erase_audit_details(uuid[], text),
    datalane.erase_person_from_audit(uuid, text[], text),
    datalane.enqueue(text, jsonb, text, integer, timestamptz, text, text, integer),
    datalane.enqueue_batch(text[], jsonb[], text[], integer[], timestamptz[], text[], text[], integer[], uuid, text, uuid, integer, timestamptz),
    datalane.enqueue_job(text, jsonb, text, integer, timestamptz, integer, uuid, text, uuid, integer, timestamptz),
    datalane.publish(text, jsonb, integer, text, text, text, timestamptz),
    datalane.publish_batch(text[], integer[], jsonb[], text[], text[], text[], timestamptz[], uuid, text, uuid, integer, boolean, interval, timestamptz),
    datalane.record_rejection(text, text, text, text, text, timestamptz),
    datalane.complete_jobs(uuid[], bigint[], timestamptz),
    datalane.complete_job(uuid, bigint, timestamptz),
    datalane.fail_job_here(uuid, bigint, text, text, interval, timestamptz),
    datalane.retry_jobs(uuid[], timestamptz),
    datalane.replay_jobs(uuid[], timestamptz),
    datalane.cancel_jobs(uuid[], timestamptz),
    datalane.skip_job(uuid, timestamptz),
    datalane.pause_jobs(text),
    datalane.resume_jobs(text)
TO datalane_app;

GRANT EXECUTE ON FUNCTION
    datalane.claim_jobs(text[], integer, interval, text, uuid, text, integer, timestamptz),
    datalane.finish_jobs(uuid[], uuid[], bigint[], timestamptz),
    datalane.fail_job(uuid, uuid, bigint, text, text, interval, timestamptz),
    datalane.release_jobs(uuid[], uuid[], bigint[], timestamptz),
    datalane.extend_leases(uuid[], uuid[], bigint[], interval, timestamptz),
    datalane.rescue_jobs(integer, integer, timestamptz),
    datalane.reclaim_jobs(text, uuid[], uuid[], integer, interval, timestamptz),
    datalane.register_job_kind(text, integer),
    datalane.register_event_type(text, integer, jsonb),
    datalane.register_event_handler(text, text, boolean),
    datalane.pause_kind_everywhere(text, uuid, text),
    datalane.resume_kind_everywhere(text, uuid, text),
    datalane.due_schedules(integer, timestamptz),
    datalane.fire_schedule(uuid, text, timestamptz, timestamptz, text, timestamptz),
    datalane.next_due()
TO datalane_worker;

GRANT EXECUTE ON FUNCTION
    datalane.count_jobs(timestamptz),
    datalane.forget_old_keys(interval, integer, timestamptz),
    datalane.unsealed_workspaces(uuid, integer),
    datalane.seal_audit(uuid, integer, timestamptz)
TO datalane_maintenance;

SET LOCAL ROLE datalane_owner;
