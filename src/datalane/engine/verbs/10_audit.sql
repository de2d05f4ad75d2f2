-- Audit records. The log has no other way in, and no way to change or remove a row.
--
-- What is hashed is framed: each field as its length in four bytes and its bytes, null as the length -1, so that no two
-- records have the same bytes. Times are microseconds since 1970. The form has a name and never changes under it.

CREATE OR REPLACE FUNCTION datalane.framed(field bytea)
RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(int4send(octet_length(field)) || field, int4send(-1));

CREATE OR REPLACE FUNCTION datalane.framed_text(field text)
RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    RETURN datalane.framed(convert_to(field, 'UTF8'));

CREATE OR REPLACE FUNCTION datalane.framed_moment(moment timestamptz)
RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    RETURN datalane.framed(int8send((extract(epoch FROM moment) * 1000000)::bigint));

-- What stands in the log for the values before and after. Without the salt, which goes with them when they are erased,
-- nobody can try out which values they were.
CREATE OR REPLACE FUNCTION datalane.audit_details_digest(salt uuid, before text, after text)
RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    RETURN sha256(datalane.framed_text('datalane.audit_details.1') || datalane.framed(uuid_send(salt))
        || datalane.framed_text(before) || datalane.framed_text(after));

-- For verbs that act before a context exists (sign-up); not granted to anyone else.
CREATE OR REPLACE FUNCTION datalane.audit_for(
    workspace uuid, actor uuid, correlation text, action text, resource_type text, resource_id text,
    before jsonb DEFAULT NULL, after jsonb DEFAULT NULL, now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    id constant uuid := app.uuid7();
    salt uuid; text_before text; text_after text; digest bytea;
BEGIN
    IF before IS NOT NULL OR after IS NOT NULL THEN
        salt := gen_random_uuid();
        text_before := datalane.redacted_text(before);
        text_after := datalane.redacted_text(after);
        digest := datalane.audit_details_digest(salt, text_before, text_after);
        INSERT INTO datalane.audit_details (workspace_id, audit_id, salt, before, after)
        VALUES (workspace, id, salt, text_before::json, text_after::json);
    END IF;
    INSERT INTO datalane.audit_log (workspace_id, audit_id, occurred_at, actor_id, action, resource_type, resource_id,
                                    correlation_id, details_digest)
    VALUES (workspace, id, coalesce(now, clock_timestamp()), actor, action, resource_type, resource_id, correlation, digest);
    RETURN id;
END $$;

-- Leave an audit record of the current context. Answers its id.
CREATE OR REPLACE FUNCTION datalane.audit(
    action text, resource_type text, resource_id text, before jsonb DEFAULT NULL, after jsonb DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.require_rank(1);
    RETURN datalane.audit_for(app.workspace_id(), app.actor_id(), app.correlation_id(), action, resource_type,
                              resource_id, before, after);
END $$;
