-- The W3C trace context of a transaction, for the jobs it enqueues. Tracing never breaks work: what is not one is none.
CREATE FUNCTION app.traceparent() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN substring(current_setting('app.traceparent', true) FROM '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$');
COMMENT ON FUNCTION app.traceparent() IS 'The W3C trace context that this transaction was opened with, or NULL';
REVOKE EXECUTE ON FUNCTION app.traceparent() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.traceparent() TO datalane_app, datalane_definer, datalane_worker;

ALTER TABLE datalane.jobs ADD COLUMN traceparent text;
ALTER TABLE datalane.jobs ALTER COLUMN traceparent SET DEFAULT app.traceparent();

-- They answer one column more, so they are made anew by the release.
SET LOCAL ROLE datalane_definer;
DROP FUNCTION datalane.claim_jobs(text[], integer, interval, text, uuid, text, integer, timestamptz);
DROP FUNCTION datalane.claim_ready(text[], integer, interval, text, uuid, text, text, integer, timestamptz);
SET LOCAL ROLE datalane_owner;
