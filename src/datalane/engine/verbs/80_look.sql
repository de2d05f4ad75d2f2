-- What workers and operators need to see without seeing tenants' rows.

-- When the next delayed job is due, so that an idle worker knows when to look again.
CREATE OR REPLACE FUNCTION datalane.next_due() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT min(j.next_retry_at) FROM datalane.jobs j WHERE j.shelf = 'due'
$$;

-- How many jobs there are of each kind and status, and for how long the oldest of those that could run has waited. It reads
-- the whole table, so whoever asks does so seldom. A dead letter that was replayed counts no more.
CREATE OR REPLACE FUNCTION datalane.count_jobs(now timestamptz DEFAULT NULL)
RETURNS TABLE (kind text, status text, jobs bigint, oldest_wait interval)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    RETURN QUERY SELECT j.kind, j.status, count(*),
        at - min(j.next_retry_at) FILTER (WHERE j.shelf IN ('ready', 'due') AND j.lease_until IS NULL AND j.next_retry_at <= at)
    FROM datalane.jobs j WHERE j.replayed_by IS NULL GROUP BY j.kind, j.status;
END $$;

-- Keys whose window has passed, and ordering keys at rest, are forgotten in bites. Answers how many rows went.
CREATE OR REPLACE FUNCTION datalane.forget_old_keys(
    dedupe_window interval, most integer DEFAULT 10000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); removed integer; total integer;
BEGIN
    DELETE FROM datalane.event_dedupe d USING (
        SELECT o.workspace_id, o.source_system, o.source_event_id FROM datalane.event_dedupe o
        WHERE o.received_at < at - dedupe_window LIMIT most) old
    WHERE d.workspace_id = old.workspace_id AND d.source_system = old.source_system AND d.source_event_id = old.source_event_id;
    GET DIAGNOSTICS total = ROW_COUNT;
    DELETE FROM datalane.job_keys k USING (
        SELECT o.workspace_id, o.idempotency_key FROM datalane.job_keys o WHERE o.created_at < at - dedupe_window LIMIT most) old
    WHERE k.workspace_id = old.workspace_id AND k.idempotency_key = old.idempotency_key;
    GET DIAGNOSTICS removed = ROW_COUNT;
    total := total + removed;
    -- A place that a dead letter still holds must not be given out again.
    DELETE FROM datalane.job_order o WHERE o.head_seq = o.next_seq AND o.touched_at < at - dedupe_window
        AND NOT EXISTS (SELECT FROM datalane.jobs j WHERE j.workspace_id = o.workspace_id AND j.order_key = o.order_key
                        AND j.replayed_by IS NULL);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN total + removed;
END $$;
