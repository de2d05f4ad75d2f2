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
    ELSIF done.kind = ANY (datalane.operators_kinds()) THEN
        PERFORM datalane.require_rank(5);
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
