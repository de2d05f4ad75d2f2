-- Postpone: the other side asks to be left alone for a while. That is no failure.

-- Put a held job off by `pause`; its attempt is not spent. Answers the new status, or NULL when the lease was lost.
CREATE OR REPLACE FUNCTION datalane.postpone_job(
    workspace uuid, job_id uuid, token bigint, error_class text, error_message text, pause interval,
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
    PERFORM datalane.record_attempt(job, 'retrying', error_class, error_message, 'postponed', at);
    UPDATE datalane.jobs j
    SET status = 'retrying', lease_until = NULL, attempt_count = j.attempt_count - 1, next_retry_at = at + pause,
        shelf = CASE WHEN pause > interval '0' THEN 'due' ELSE 'ready' END,
        last_error_class = error_class, last_error_message = error_message
    WHERE j.workspace_id = workspace AND j.id = job_id;
    RETURN 'retrying';
END $$;
