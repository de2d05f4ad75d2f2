SET LOCAL ROLE datalane_definer;

DROP FUNCTION datalane.enter_by_identity;
DROP FUNCTION datalane.no_password;
DROP FUNCTION datalane.forget_attempts;
DROP FUNCTION datalane.trust_attempt;
DROP FUNCTION datalane.take_attempt;
DROP FUNCTION datalane.forget_sessions;
DROP FUNCTION datalane.list_sessions;
DROP FUNCTION datalane.end_sessions;
DROP FUNCTION datalane.refresh_session;
DROP FUNCTION datalane.report_session;
DROP FUNCTION datalane.start_session;

CREATE FUNCTION datalane.start_session(
    user_id uuid, token_hash bytea, lifetime interval, now timestamptz DEFAULT NULL,
    OUT session_id uuid, OUT expires_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    DELETE FROM datalane.sessions s WHERE s.user_id = start_session.user_id AND s.expires_at <= at;
    start_session.session_id := app.uuid7();
    start_session.expires_at := at + lifetime;
    INSERT INTO datalane.sessions (session_id, user_id, token_hash, created_at, expires_at)
    VALUES (start_session.session_id, start_session.user_id, start_session.token_hash, at, start_session.expires_at);
END $$;

CREATE FUNCTION datalane.end_session(token_hash bytea)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    DELETE FROM datalane.sessions s WHERE s.token_hash = end_session.token_hash;
    RETURN FOUND;
END $$;

CREATE OR REPLACE FUNCTION datalane.find_session(token_hash bytea, workspace uuid DEFAULT NULL, now timestamptz DEFAULT NULL)
RETURNS TABLE (session_id uuid, user_id uuid, expires_at timestamptz, workspace_id uuid, role text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT s.session_id, s.user_id, s.expires_at, m.workspace_id, m.role
        FROM datalane.sessions s
        LEFT JOIN LATERAL (
            SELECT c.workspace_id, c.role FROM datalane.memberships c
            WHERE c.user_id = s.user_id AND c.status = 'active' AND (workspace IS NULL OR c.workspace_id = workspace)
            ORDER BY c.created_at, c.workspace_id LIMIT 1
        ) m ON true
        WHERE s.token_hash = find_session.token_hash
          AND s.expires_at > coalesce(find_session.now, clock_timestamp());
END $$;

GRANT EXECUTE ON FUNCTION
    datalane.start_session(uuid, bytea, interval, timestamptz),
    datalane.end_session(bytea)
TO datalane_signin;

SET LOCAL ROLE datalane_owner;

DROP TABLE datalane.user_identities;
REVOKE UPDATE ON datalane.users FROM datalane_definer;
ALTER TABLE datalane.users DROP COLUMN email_verified_at;
DROP TABLE datalane.attempt_buckets;
REVOKE UPDATE ON datalane.sessions FROM datalane_definer;
ALTER TABLE datalane.sessions
    DROP COLUMN family_hash,
    DROP COLUMN refresh_hash,
    DROP COLUMN refreshed_at,
    DROP COLUMN refresh_expires_at,
    DROP COLUMN ended_at,
    DROP COLUMN end_reason;
