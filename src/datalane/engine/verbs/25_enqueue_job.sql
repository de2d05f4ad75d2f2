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
    IF kind = ANY (datalane.admins_kinds()) THEN
        PERFORM datalane.require_rank(3);
    ELSIF kind = ANY (datalane.operators_kinds()) THEN
        PERFORM datalane.require_rank(5);
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
