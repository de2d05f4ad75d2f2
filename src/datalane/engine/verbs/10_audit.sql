-- Audit records. The table has no other way in, and no way to change or remove a row.

-- For verbs that act before a context exists (sign-up); not granted to anyone else.
CREATE OR REPLACE FUNCTION datalane.audit_for(
    workspace uuid, actor uuid, correlation text, action text, resource_type text, resource_id text,
    before jsonb DEFAULT NULL, after jsonb DEFAULT NULL, now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    INSERT INTO datalane.audit_log (workspace_id, audit_id, occurred_at, actor_id, action, resource_type, resource_id,
                                    correlation_id, before, after)
    VALUES (workspace, app.uuid7(), coalesce(now, clock_timestamp()), actor, action, resource_type, resource_id,
            correlation, before, after)
    RETURNING audit_id
$$;

-- Leave an audit record of the current context. Answers its id.
CREATE OR REPLACE FUNCTION datalane.audit(
    action text, resource_type text, resource_id text, before jsonb DEFAULT NULL, after jsonb DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.require_rank(1);
    RETURN datalane.audit_for(app.workspace_id(), app.actor_id(), app.correlation_id(), action, resource_type,
                              resource_id, before, after);
END $$;
