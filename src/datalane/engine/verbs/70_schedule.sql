-- Schedules: the worker reads what is due, computes the next time from the cron expression, and fires with the time it
-- saw; of two workers that saw the same, one wins. One without a next time (`following` NULL) is switched off. Runs missed while nothing ran are made up for once.

CREATE OR REPLACE FUNCTION datalane.due_schedules(most integer DEFAULT 100, now timestamptz DEFAULT NULL)
RETURNS TABLE (workspace_id uuid, name text, cron text, timezone text, next_run_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT s.workspace_id, s.name, s.cron, s.timezone, s.next_run_at FROM datalane.job_schedules s
    WHERE s.enabled AND s.next_run_at <= coalesce(now, clock_timestamp()) ORDER BY s.next_run_at LIMIT most
$$;

CREATE OR REPLACE FUNCTION datalane.fire_schedule(
    workspace uuid, schedule text, seen timestamptz, following timestamptz, correlation text, now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); fired record; job uuid;
BEGIN
    IF following IS NULL THEN
        UPDATE datalane.job_schedules s SET enabled = false
        WHERE s.workspace_id = workspace AND s.name = schedule AND s.next_run_at = seen;
        RETURN NULL;
    END IF;
    UPDATE datalane.job_schedules s SET next_run_at = following, last_run_at = at
    WHERE s.workspace_id = workspace AND s.name = schedule AND s.next_run_at = seen AND s.enabled
    RETURNING s.kind, s.args, s.actor_id INTO fired;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT e.job_id INTO job FROM datalane.enqueue_core(
        workspace, ARRAY[fired.kind], ARRAY[fired.args], NULL, NULL, NULL, NULL,
        ARRAY[format('schedule:%s:%s', schedule, extract(epoch FROM seen)::bigint)], NULL, fired.actor_id, correlation,
        NULL, 0, NULL, at) AS e;
    RETURN job;
END $$;
