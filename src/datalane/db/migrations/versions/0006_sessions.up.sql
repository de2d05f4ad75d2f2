-- A session is a family of tokens: one access token and one refresh token are good at a time, and each refresh makes
-- two new ones. A refresh token is two secrets. The first stays for the life of the family and finds it; the second
-- changes with each rotation. So whoever presents the first with another second presents a token that was rotated
-- away, however long ago, and no former token needs to be kept. A session of before has no refresh token.
ALTER TABLE datalane.sessions
    ADD COLUMN family_hash bytea CONSTRAINT family_hash_is_sha256 CHECK (octet_length(family_hash) = 32),
    ADD COLUMN refresh_hash bytea CONSTRAINT refresh_hash_is_sha256 CHECK (octet_length(refresh_hash) = 32),
    ADD COLUMN refreshed_at timestamptz,
    ADD COLUMN refresh_expires_at timestamptz,
    ADD COLUMN ended_at timestamptz,
    ADD COLUMN end_reason text CONSTRAINT end_reason_is_known CHECK (
        end_reason IN ('signed_out', 'signed_out_everywhere', 'revoked', 'reused', 'linked')),
    ADD CONSTRAINT refresh_token_is_whole CHECK (num_nonnulls(family_hash, refresh_hash, refresh_expires_at) IN (0, 3)),
    ADD CONSTRAINT ended_for_a_reason CHECK ((ended_at IS NULL) = (end_reason IS NULL)),
    ADD CONSTRAINT one_session_per_family UNIQUE (family_hash);
CREATE INDEX sessions_by_expiry ON datalane.sessions (refresh_expires_at);
GRANT UPDATE ON datalane.sessions TO datalane_definer;

-- How often somebody may try, for all processes of the lane. A bucket is the digest of what is counted (an address, a
-- client, both); a row says when it will be full again, so one that is full needs no row and is swept away. A client that
-- has signed in to an address is trusted with it for a while.
CREATE TABLE datalane.attempt_buckets (
    bucket bytea NOT NULL PRIMARY KEY CONSTRAINT bucket_is_sha256 CHECK (octet_length(bucket) = 32),
    full_at timestamptz NOT NULL,
    trusted_until timestamptz
);
SELECT app.protect('datalane.attempt_buckets', 'global', verbs => 'SELECT, INSERT, UPDATE, DELETE');

-- An address is verified when an issuer of ID tokens said so; signing up with a password proves nothing about it.
ALTER TABLE datalane.users ADD COLUMN email_verified_at timestamptz;
GRANT UPDATE ON datalane.users TO datalane_definer;
CREATE TABLE datalane.user_identities (
    issuer text NOT NULL CONSTRAINT issuer_is_short CHECK (length(issuer) <= 500),
    subject text NOT NULL CONSTRAINT subject_is_short CHECK (length(subject) BETWEEN 1 AND 255),
    user_id uuid NOT NULL REFERENCES datalane.users (user_id),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, subject),
    CONSTRAINT one_identity_of_an_issuer_each UNIQUE (user_id, issuer)
);
SELECT app.protect('datalane.user_identities', 'global', verbs => 'SELECT, INSERT');

SET LOCAL ROLE datalane_definer;

-- A new session; with a refresh token when its two hashes are given. The user's expired ones go at the same time, so
-- that they do not pile up.
DROP FUNCTION datalane.start_session(uuid, bytea, interval, timestamptz);
CREATE FUNCTION datalane.start_session(
    user_id uuid, token_hash bytea, lifetime interval, family_hash bytea DEFAULT NULL, refresh_hash bytea DEFAULT NULL,
    refresh_lifetime interval DEFAULT NULL, now timestamptz DEFAULT NULL,
    OUT session_id uuid, OUT expires_at timestamptz, OUT refresh_expires_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    DELETE FROM datalane.sessions s WHERE s.user_id = start_session.user_id
        AND greatest(s.expires_at, s.refresh_expires_at) <= at;
    start_session.session_id := app.uuid7();
    start_session.expires_at := at + lifetime;
    start_session.refresh_expires_at := CASE WHEN start_session.family_hash IS NOT NULL THEN at + refresh_lifetime END;
    INSERT INTO datalane.sessions (session_id, user_id, token_hash, created_at, expires_at, family_hash, refresh_hash,
                                   refresh_expires_at)
    VALUES (start_session.session_id, start_session.user_id, start_session.token_hash, at, start_session.expires_at,
            start_session.family_hash, start_session.refresh_hash, start_session.refresh_expires_at);
END $$;

-- Who a session token stands for, and the membership in `workspace` (the oldest active one when none is named). The
-- workspace and role are null when there is no active membership. No row: no such session, or it has expired or ended.
CREATE OR REPLACE FUNCTION datalane.find_session(
    token_hash bytea, workspace uuid DEFAULT NULL, now timestamptz DEFAULT NULL)
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
        WHERE s.token_hash = find_session.token_hash AND s.ended_at IS NULL
          AND s.expires_at > coalesce(find_session.now, clock_timestamp());
END $$;

-- Tell every workspace in which the user acts that something is wrong with a session of theirs.
CREATE FUNCTION datalane.report_session(session uuid, owner uuid, kind text, correlation text, at timestamptz)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM datalane.record_change(
        m.workspace_id, '00000000-0000-0000-0000-000000000000', correlation, 'security.anomaly', 'session', session::text,
        NULL, jsonb_build_object('kind', kind, 'user_id', owner, 'session_id', session), at)
    FROM datalane.memberships m WHERE m.user_id = owner AND m.status = 'active' ORDER BY m.workspace_id;
END $$;

-- Exchange a refresh token for two new ones. `outcome` is `rotated`; `reused` for a token that was rotated away, which
-- ends the session and is reported; `ended`, `expired` or `unknown`. Of racing calls with one token the first wins,
-- and the others have reused it.
CREATE FUNCTION datalane.refresh_session(
    family_hash bytea, refresh_hash bytea, new_token_hash bytea, new_refresh_hash bytea, lifetime interval,
    refresh_lifetime interval, correlation text, now timestamptz DEFAULT NULL,
    OUT outcome text, OUT session_id uuid, OUT user_id uuid, OUT expires_at timestamptz, OUT refresh_expires_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); ended timestamptz;
BEGIN
    UPDATE datalane.sessions s
    SET token_hash = new_token_hash, refresh_hash = new_refresh_hash, refreshed_at = at, expires_at = at + lifetime,
        refresh_expires_at = at + refresh_lifetime
    WHERE s.family_hash = refresh_session.family_hash AND s.refresh_hash = refresh_session.refresh_hash
      AND s.ended_at IS NULL AND s.refresh_expires_at > at
    RETURNING 'rotated', s.session_id, s.user_id, s.expires_at, s.refresh_expires_at
    INTO outcome, refresh_session.session_id, refresh_session.user_id, refresh_session.expires_at,
         refresh_session.refresh_expires_at;
    IF FOUND THEN
        RETURN;
    END IF;
    UPDATE datalane.sessions s SET ended_at = at, end_reason = 'reused', expires_at = least(s.expires_at, at)
    WHERE s.family_hash = refresh_session.family_hash AND s.refresh_hash <> refresh_session.refresh_hash
      AND s.ended_at IS NULL AND s.refresh_expires_at > at
    RETURNING 'reused', s.session_id, s.user_id INTO outcome, refresh_session.session_id, refresh_session.user_id;
    IF FOUND THEN
        PERFORM datalane.report_session(
            refresh_session.session_id, refresh_session.user_id, 'refresh_token_reused', correlation, at);
        RETURN;
    END IF;
    SELECT s.session_id, s.user_id, s.ended_at INTO refresh_session.session_id, refresh_session.user_id, ended
    FROM datalane.sessions s WHERE s.family_hash = refresh_session.family_hash;
    outcome := CASE WHEN NOT FOUND THEN 'unknown' WHEN ended IS NOT NULL THEN 'ended' ELSE 'expired' END;
END $$;

-- End one session of a user, or all. Answers how many ended.
DROP FUNCTION datalane.end_session(bytea);
CREATE FUNCTION datalane.end_sessions(
    user_id uuid, reason text, session uuid DEFAULT NULL, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); ended integer;
BEGIN
    UPDATE datalane.sessions s SET ended_at = at, end_reason = reason, expires_at = least(s.expires_at, at)
    FROM (SELECT o.session_id FROM datalane.sessions o
          WHERE o.user_id = end_sessions.user_id AND o.ended_at IS NULL AND (session IS NULL OR o.session_id = session)
            AND greatest(o.expires_at, o.refresh_expires_at) > at
          ORDER BY o.session_id FOR UPDATE) live
    WHERE s.session_id = live.session_id;
    GET DIAGNOSTICS ended = ROW_COUNT;
    RETURN ended;
END $$;

-- A user's sessions that can still be used or refreshed, newest first.
CREATE FUNCTION datalane.list_sessions(
    user_id uuid, following uuid DEFAULT NULL, most integer DEFAULT 100, now timestamptz DEFAULT NULL)
RETURNS TABLE (session_id uuid, created_at timestamptz, refreshed_at timestamptz, expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT s.session_id, s.created_at, s.refreshed_at, greatest(s.expires_at, s.refresh_expires_at)
    FROM datalane.sessions s
    WHERE s.user_id = $1 AND s.ended_at IS NULL AND ($2 IS NULL OR s.session_id < $2)
      AND greatest(s.expires_at, s.refresh_expires_at) > coalesce($4, clock_timestamp())
    ORDER BY s.session_id DESC LIMIT $3
$$;

-- Sessions past their last moment are forgotten in bites. Answers how many went.
CREATE FUNCTION datalane.forget_sessions(most integer DEFAULT 10000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); gone integer;
BEGIN
    DELETE FROM datalane.sessions s USING (
        SELECT o.session_id FROM datalane.sessions o
        WHERE (o.refresh_expires_at <= at OR o.refresh_expires_at IS NULL) AND o.expires_at <= at LIMIT most) old
    WHERE s.session_id = old.session_id;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

-- Take one attempt from each bucket, or from none. A bucket holds its burst and gets one back after each pause. The one
-- at place `spared` is left alone while the first is trusted; 0 spares none. When one of them is empty, the answer is when
-- to come again and its place; both are null for somebody who may try. What is refused does not count.
CREATE FUNCTION datalane.take_attempt(
    buckets bytea[], bursts integer[], pauses interval[], spared integer DEFAULT 0, now timestamptz DEFAULT NULL,
    OUT retry_after interval, OUT refused_by integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp());
    skipped constant bytea := (SELECT buckets[spared] FROM datalane.attempt_buckets b
                               WHERE b.bucket = buckets[1] AND b.trusted_until > at);
BEGIN
    WITH asked AS (
        SELECT a.bucket, a.burst, a.pause, a.place
        FROM unnest(buckets, bursts, pauses) WITH ORDINALITY AS a (bucket, burst, pause, place)
        WHERE a.bucket IS DISTINCT FROM skipped
    ), taken AS (
        INSERT INTO datalane.attempt_buckets AS b (bucket, full_at)
        SELECT a.bucket, at + a.pause FROM asked a ORDER BY a.bucket
        ON CONFLICT (bucket) DO UPDATE SET full_at = greatest(b.full_at, at) + (EXCLUDED.full_at - at)
        RETURNING b.bucket, b.full_at
    )
    SELECT t.full_at - a.burst * a.pause - at, a.place INTO retry_after, refused_by
    FROM taken t JOIN asked a ON a.bucket = t.bucket
    WHERE t.full_at - a.burst * a.pause > at ORDER BY t.full_at - a.burst * a.pause DESC LIMIT 1;
    IF FOUND THEN
        UPDATE datalane.attempt_buckets b SET full_at = b.full_at - a.pause
        FROM unnest(buckets, pauses) AS a (bucket, pause)
        WHERE b.bucket = a.bucket AND a.bucket IS DISTINCT FROM skipped;
        DELETE FROM datalane.attempt_buckets b
        WHERE b.bucket = ANY (buckets) AND b.full_at <= at AND b.trusted_until IS NULL;
    END IF;
END $$;

-- After the right password: the bucket is full, and trusted for a while.
CREATE FUNCTION datalane.trust_attempt(bucket bytea, kept interval, now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    INSERT INTO datalane.attempt_buckets (bucket, full_at, trusted_until) VALUES (trust_attempt.bucket, at, at + kept)
    ON CONFLICT (bucket) DO UPDATE SET full_at = EXCLUDED.full_at, trusted_until = EXCLUDED.trusted_until;
END $$;

-- Buckets that are full again, and no longer trusted, are forgotten in bites. Answers how many went.
CREATE FUNCTION datalane.forget_attempts(most integer DEFAULT 10000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); gone integer;
BEGIN
    DELETE FROM datalane.attempt_buckets b WHERE b.bucket IN (
        SELECT o.bucket FROM datalane.attempt_buckets o
        WHERE o.full_at <= at AND (o.trusted_until IS NULL OR o.trusted_until <= at)
        LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

-- The hash of an account without a password: a well-formed one that no password has, so that trying one takes as long as
-- anywhere else, and every release can read it.
CREATE FUNCTION datalane.no_password() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';

-- Somebody whom an issuer vouches for, and whose token was verified. `email` is null unless the issuer verified it.
-- `outcome`: `linked_existing` for a known identity or a known address, `created_new`, `unverified` for a stranger without
-- an address, `taken` when the account of the address has another identity of the same issuer: the address went to
-- somebody else. An account whose address was not verified may have been made by somebody else in advance, so the first
-- link ends its password and its sessions.
CREATE FUNCTION datalane.enter_by_identity(
    issuer text, subject text, email text, name text, workspace_name text, correlation text, now timestamptz DEFAULT NULL,
    OUT outcome text, OUT user_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp());
    address constant text := lower(enter_by_identity.email); verified timestamptz;
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(
        enter_by_identity.issuer || ' ' || enter_by_identity.subject, 0));
    SELECT i.user_id INTO enter_by_identity.user_id FROM datalane.user_identities i
    WHERE i.issuer = enter_by_identity.issuer AND i.subject = enter_by_identity.subject;
    IF FOUND THEN
        outcome := 'linked_existing';
        RETURN;
    ELSIF address IS NULL THEN
        outcome := 'unverified';
        RETURN;
    END IF;
    INSERT INTO datalane.users AS u (user_id, email, name, password_hash, created_at, email_verified_at)
    VALUES (app.uuid7(), address, enter_by_identity.name, datalane.no_password(), at, at)
    ON CONFLICT (email) DO NOTHING RETURNING u.user_id INTO enter_by_identity.user_id;
    IF FOUND THEN
        outcome := 'created_new';
        PERFORM datalane.found_workspace(enter_by_identity.user_id, workspace_name, correlation, at);
    ELSE
        SELECT u.user_id, u.email_verified_at INTO enter_by_identity.user_id, verified
        FROM datalane.users u WHERE u.email = address FOR NO KEY UPDATE;
        IF EXISTS (SELECT FROM datalane.user_identities i WHERE i.user_id = enter_by_identity.user_id
                   AND i.issuer = enter_by_identity.issuer) THEN
            outcome := 'taken';
            RETURN;
        END IF;
        outcome := 'linked_existing';
        IF verified IS NULL THEN
            UPDATE datalane.users u SET email_verified_at = at, password_hash = datalane.no_password()
            WHERE u.user_id = enter_by_identity.user_id;
            PERFORM datalane.end_sessions(enter_by_identity.user_id, 'linked', now => at);
        END IF;
    END IF;
    INSERT INTO datalane.user_identities (issuer, subject, user_id, created_at)
    VALUES (enter_by_identity.issuer, enter_by_identity.subject, enter_by_identity.user_id, at);
    PERFORM datalane.audit_for(
        m.workspace_id, enter_by_identity.user_id, correlation, 'identity.linked', 'user', enter_by_identity.user_id::text,
        NULL, jsonb_build_object('issuer', enter_by_identity.issuer), at)
    FROM datalane.memberships m WHERE m.user_id = enter_by_identity.user_id AND m.status = 'active' ORDER BY m.workspace_id;
END $$;

GRANT EXECUTE ON FUNCTION
    datalane.start_session(uuid, bytea, interval, bytea, bytea, interval, timestamptz),
    datalane.refresh_session(bytea, bytea, bytea, bytea, interval, interval, text, timestamptz),
    datalane.end_sessions(uuid, text, uuid, timestamptz),
    datalane.list_sessions(uuid, uuid, integer, timestamptz),
    datalane.take_attempt(bytea[], integer[], interval[], integer, timestamptz),
    datalane.trust_attempt(bytea, interval, timestamptz),
    datalane.enter_by_identity(text, text, text, text, text, text, timestamptz)
TO datalane_signin;
GRANT EXECUTE ON FUNCTION
    datalane.forget_sessions(integer, timestamptz),
    datalane.forget_attempts(integer, timestamptz)
TO datalane_maintenance;

SET LOCAL ROLE datalane_owner;
