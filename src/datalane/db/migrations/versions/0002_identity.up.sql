-- People and their sessions belong to no workspace: global tables, reached by verbs only.

CREATE TABLE datalane.users (
    user_id uuid NOT NULL PRIMARY KEY,
    email text NOT NULL CONSTRAINT email_is_lower_case CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
    name text NOT NULL CONSTRAINT name_is_short CHECK (length(name) <= 200),
    password_hash text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT one_account_per_email UNIQUE (email)
);
SELECT app.protect('datalane.users', 'global', verbs => 'SELECT, INSERT');

CREATE TABLE datalane.sessions (
    session_id uuid NOT NULL PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES datalane.users (user_id),
    token_hash bytea NOT NULL CONSTRAINT token_hash_is_sha256 CHECK (octet_length(token_hash) = 32),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT one_session_per_token UNIQUE (token_hash)
);
CREATE INDEX sessions_of_user ON datalane.sessions (user_id);
SELECT app.protect('datalane.sessions', 'global', verbs => 'SELECT, INSERT, DELETE');

-- Exactly one owner: at most one by the partial unique index, at least one by the foreign key from the workspace to a
-- membership that is the owner's. It is deferred, so that the workspace and its first membership come together.

CREATE TABLE datalane.workspaces (
    workspace_id uuid NOT NULL PRIMARY KEY,
    name text NOT NULL CONSTRAINT name_is_short CHECK (length(name) BETWEEN 1 AND 200),
    search_language text NOT NULL DEFAULT 'english',
    owner_id uuid NOT NULL,
    owner_role text NOT NULL DEFAULT 'owner' CONSTRAINT owner_role_is_owner CHECK (owner_role = 'owner'),
    created_at timestamptz NOT NULL
);
SELECT app.protect('datalane.workspaces', 'log', verbs => 'SELECT, INSERT, UPDATE',
                   operator_columns => '{workspace_id,created_at}');

CREATE TABLE datalane.memberships (
    workspace_id uuid NOT NULL REFERENCES datalane.workspaces (workspace_id),
    user_id uuid NOT NULL REFERENCES datalane.users (user_id),
    role text NOT NULL CONSTRAINT role_is_known CHECK (role IN ('viewer', 'member', 'admin', 'owner')),
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('invited', 'active', 'suspended', 'removed')),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, user_id),
    CONSTRAINT membership_with_role UNIQUE (workspace_id, user_id, role),
    CONSTRAINT owner_is_active CHECK (role <> 'owner' OR status = 'active')
);
CREATE UNIQUE INDEX at_most_one_owner ON datalane.memberships (workspace_id) WHERE role = 'owner';
CREATE INDEX memberships_of_user ON datalane.memberships (user_id);
SELECT app.protect('datalane.memberships', 'log', verbs => 'SELECT, INSERT, UPDATE');

ALTER TABLE datalane.workspaces ADD CONSTRAINT at_least_one_owner
    FOREIGN KEY (workspace_id, owner_id, owner_role) REFERENCES datalane.memberships (workspace_id, user_id, role)
    DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE datalane.api_keys (
    workspace_id uuid NOT NULL REFERENCES datalane.workspaces (workspace_id),
    key_id uuid NOT NULL,
    name text NOT NULL CONSTRAINT name_is_short CHECK (length(name) <= 200),
    secret_hash bytea NOT NULL CONSTRAINT secret_hash_is_sha256 CHECK (octet_length(secret_hash) = 32),
    role text NOT NULL CONSTRAINT role_is_known CHECK (role IN ('viewer', 'member', 'admin', 'owner')),
    scopes text[] CONSTRAINT scopes_are_few CHECK (cardinality(scopes) BETWEEN 1 AND 100),
    created_by uuid NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (workspace_id, key_id),
    CONSTRAINT created_by_a_member FOREIGN KEY (workspace_id, created_by)
        REFERENCES datalane.memberships (workspace_id, user_id)
);
CREATE INDEX api_keys_of_creator ON datalane.api_keys (workspace_id, created_by);
SELECT app.protect('datalane.api_keys', 'system', verbs => 'SELECT, INSERT, UPDATE');

-- Answers kept for `Idempotency-Key`. The row commits with the effect it answers for; secrets shown once are left out.
CREATE TABLE datalane.idempotency_keys (
    workspace_id uuid NOT NULL,
    actor_id uuid NOT NULL,
    route text NOT NULL,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    status integer NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, actor_id, route, idempotency_key)
);
SELECT app.protect('datalane.idempotency_keys', 'self', verbs => 'SELECT, DELETE');

SET LOCAL ROLE datalane_definer;

CREATE FUNCTION datalane.role_rank(role text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE role WHEN 'viewer' THEN 1 WHEN 'member' THEN 2 WHEN 'admin' THEN 3 WHEN 'owner' THEN 4 ELSE 0 END;

-- Leave the audit record and the event of a change in a workspace.
CREATE FUNCTION datalane.record_change(
    workspace uuid, actor uuid, correlation text, change text, resource text, resource_id text,
    before jsonb, after jsonb, at timestamptz)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM datalane.audit_for(workspace, actor, correlation, change, resource, resource_id, before, after, at);
    PERFORM datalane.publish_for(workspace, actor, correlation, change, coalesce(after, before), resource_id, now => at);
END $$;

CREATE FUNCTION datalane.membership_json(workspace uuid, member uuid, role text, status text)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN jsonb_build_object('workspace_id', workspace, 'user_id', member, 'role', role, 'status', status);

-- A new workspace and its owner's membership.
CREATE FUNCTION datalane.found_workspace(owner uuid, name text, correlation text, at timestamptz)
RETURNS uuid LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    workspace constant uuid := app.uuid7();
BEGIN
    INSERT INTO datalane.workspaces (workspace_id, name, owner_id, created_at) VALUES (workspace, name, owner, at);
    INSERT INTO datalane.memberships (workspace_id, user_id, role, status, created_at, updated_at)
    VALUES (workspace, owner, 'owner', 'active', at, at);
    PERFORM datalane.record_change(workspace, owner, correlation, 'workspace.created', 'workspace', workspace::text, NULL,
        jsonb_build_object('workspace_id', workspace, 'name', name, 'owner_id', owner), at);
    PERFORM datalane.record_change(workspace, owner, correlation, 'membership.added', 'membership', owner::text, NULL,
        datalane.membership_json(workspace, owner, 'owner', 'active'), at);
    RETURN workspace;
END $$;

-- Verbs before it is known who asks. They believe their caller, or take a secret for it, so a role of its own calls them.

CREATE FUNCTION datalane.sign_up(
    email text, name text, password_hash text, workspace_name text, correlation text, now timestamptz DEFAULT NULL,
    OUT user_id uuid, OUT workspace_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    INSERT INTO datalane.users AS u (user_id, email, name, password_hash, created_at)
    VALUES (app.uuid7(), lower(sign_up.email), sign_up.name, sign_up.password_hash, at)
    ON CONFLICT (email) DO NOTHING RETURNING u.user_id INTO sign_up.user_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'an account with this e-mail address exists; sign in instead' USING ERRCODE = 'DL409';
    END IF;
    sign_up.workspace_id := datalane.found_workspace(sign_up.user_id, workspace_name, correlation, at);
END $$;

CREATE FUNCTION datalane.find_login(email text)
RETURNS TABLE (user_id uuid, password_hash text) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT u.user_id, u.password_hash FROM datalane.users u WHERE u.email = lower(find_login.email)
$$;

-- A new session. The user's expired ones go at the same time, so that they do not pile up.
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

-- Who a session token stands for, and the membership in `workspace` (the oldest active one when none is named). The
-- workspace and role are null when there is no active membership. No row: no such session, or it has expired.
CREATE FUNCTION datalane.find_session(token_hash bytea, workspace uuid DEFAULT NULL, now timestamptz DEFAULT NULL)
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

-- Who an API key stands for. Its role is never above what its creator holds now, and it stops with its creator's
-- membership. Scopes narrow the role further; the caller holds it to them, null is all that the role may. The time of use is kept to the minute, so that a busy key is not a hot row.
CREATE FUNCTION datalane.find_api_key(
    workspace uuid, key uuid, secret_hash bytea, now timestamptz DEFAULT NULL)
RETURNS TABLE (key_id uuid, created_by uuid, expires_at timestamptz, role text, scopes text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(find_api_key.now, clock_timestamp()); used timestamptz;
BEGIN
    SELECT k.key_id, k.created_by, k.expires_at, k.last_used_at,
           CASE WHEN datalane.role_rank(k.role) <= datalane.role_rank(m.role) THEN k.role ELSE m.role END, k.scopes
    INTO find_api_key.key_id, find_api_key.created_by, find_api_key.expires_at, used, find_api_key.role,
         find_api_key.scopes
    FROM datalane.api_keys k
    JOIN datalane.memberships m ON m.workspace_id = k.workspace_id AND m.user_id = k.created_by AND m.status = 'active'
    WHERE k.workspace_id = workspace AND k.key_id = key AND k.secret_hash = find_api_key.secret_hash
      AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > at);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF used IS NULL OR used < at - interval '1 minute' THEN
        UPDATE datalane.api_keys k SET last_used_at = at
        WHERE k.workspace_id = workspace AND k.key_id = (
            SELECT f.key_id FROM datalane.api_keys f WHERE f.workspace_id = workspace AND f.key_id = key
            FOR UPDATE SKIP LOCKED);
    END IF;
    RETURN NEXT;
END $$;

CREATE FUNCTION datalane.my_account(user_id uuid)
RETURNS TABLE (user_id uuid, email text, name text) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT u.user_id, u.email, u.name FROM datalane.users u WHERE u.user_id = $1
$$;

CREATE FUNCTION datalane.my_workspaces(member uuid)
RETURNS TABLE (workspace_id uuid, name text, search_language text, role text, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT w.workspace_id, w.name, w.search_language, m.role, w.created_at
    FROM datalane.memberships m JOIN datalane.workspaces w ON w.workspace_id = m.workspace_id
    WHERE m.user_id = member AND m.status = 'active' ORDER BY m.created_at, m.workspace_id
$$;

-- A workspace for somebody who has no other to act in.
CREATE FUNCTION datalane.create_workspace_for(
    owner uuid, name text, correlation text, now timestamptz DEFAULT NULL,
    OUT workspace_id uuid, OUT search_language text, OUT created_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    create_workspace_for.workspace_id := datalane.found_workspace(
        owner, create_workspace_for.name, correlation, coalesce(now, clock_timestamp()));
    SELECT w.search_language, w.created_at
    INTO create_workspace_for.search_language, create_workspace_for.created_at
    FROM datalane.workspaces w WHERE w.workspace_id = create_workspace_for.workspace_id;
END $$;

-- Verbs inside a workspace. They ask the door who is asking.

-- Another workspace, for the person at the door.
CREATE FUNCTION datalane.create_workspace(
    name text, now timestamptz DEFAULT NULL,
    OUT workspace_id uuid, OUT search_language text, OUT created_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    PERFORM datalane.require_rank(1);
    IF NOT EXISTS (SELECT FROM datalane.memberships m WHERE m.workspace_id = app.workspace_id()
                   AND m.user_id = app.actor_id() AND m.status = 'active') THEN
        RAISE EXCEPTION 'only a person who is an active member can create another workspace' USING ERRCODE = 'DL403';
    END IF;
    SELECT w.workspace_id, w.search_language, w.created_at
    INTO create_workspace.workspace_id, create_workspace.search_language, create_workspace.created_at
    FROM datalane.create_workspace_for(
        app.actor_id(), create_workspace.name, app.correlation_id(), create_workspace.now) w;
END $$;

CREATE FUNCTION datalane.list_members(following uuid DEFAULT NULL, most integer DEFAULT 100)
RETURNS TABLE (workspace_id uuid, user_id uuid, email text, name text, role text, status text,
               created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    PERFORM datalane.require_rank(1);
    RETURN QUERY
        SELECT m.workspace_id, m.user_id, u.email, u.name, m.role, m.status, m.created_at, m.updated_at
        FROM datalane.memberships m JOIN datalane.users u ON u.user_id = m.user_id
        WHERE m.workspace_id = app.workspace_id() AND m.status <> 'removed'
          AND (following IS NULL OR m.user_id > following)
        ORDER BY m.user_id LIMIT most;
END $$;

-- API keys. A key made by a key belongs to the person behind the first one.

-- The active member who acts: the person at the door, or whoever created the key at the door. The membership is held as
-- it is until the transaction ends, so that what its holder makes here cannot escape a removal at the same time.
CREATE FUNCTION datalane.acting_member()
RETURNS uuid LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    person uuid;
BEGIN
    SELECT m.user_id INTO person FROM datalane.memberships m
    WHERE m.workspace_id = app.workspace_id() AND m.status = 'active' AND m.user_id = coalesce(
        (SELECT k.created_by FROM datalane.api_keys k
         WHERE k.workspace_id = app.workspace_id() AND k.key_id = app.actor_id()), app.actor_id())
    FOR SHARE OF m;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'only an active member may do this' USING ERRCODE = 'DL403';
    END IF;
    RETURN person;
END $$;

-- Raises when a key that is made by a key would be more than that one: in what it may do, or in how long it lives.
CREATE FUNCTION datalane.require_no_more_than_the_key_at_the_door(scopes text[], expires_at timestamptz)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    own record;
BEGIN
    SELECT k.scopes, k.expires_at INTO own FROM datalane.api_keys k
    WHERE k.workspace_id = app.workspace_id() AND k.key_id = app.actor_id();
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF own.scopes IS NOT NULL AND (scopes IS NULL OR EXISTS (
        SELECT FROM unnest(scopes) AS s (wanted)
        WHERE s.wanted <> ALL (own.scopes) AND regexp_replace(s.wanted, '[^.]+$', '*') <> ALL (own.scopes))) THEN
        RAISE EXCEPTION 'an API key cannot make one with scopes that it lacks' USING ERRCODE = 'DL403';
    ELSIF own.expires_at IS NOT NULL AND (expires_at IS NULL OR expires_at > own.expires_at) THEN
        RAISE EXCEPTION 'an API key cannot make one that outlives it; give an expires_at not after %', own.expires_at
            USING ERRCODE = 'DL403';
    END IF;
END $$;

-- Scopes are names of permissions, or a resource with `.*`; null is all that the role may. Answers when it was made.
CREATE FUNCTION datalane.create_api_key(
    key uuid, secret_hash bytea, name text, role text, expires_at timestamptz, scopes text[] DEFAULT NULL,
    now timestamptz DEFAULT NULL)
RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); creator uuid;
BEGIN
    PERFORM datalane.require_rank(3);
    IF datalane.role_rank(create_api_key.role) = 0 THEN
        RAISE EXCEPTION 'the role must be viewer, member, admin or owner' USING ERRCODE = 'DL400';
    ELSIF datalane.role_rank(create_api_key.role) > app.actor_rank() THEN
        RAISE EXCEPTION 'an API key cannot hold a role above its creator''s' USING ERRCODE = 'DL403';
    ELSIF create_api_key.expires_at <= at THEN
        RAISE EXCEPTION 'expires_at must be in the future' USING ERRCODE = 'DL400';
    ELSIF cardinality(create_api_key.scopes) NOT BETWEEN 1 AND 100 OR EXISTS (
        SELECT FROM unnest(create_api_key.scopes) AS s (scope)
        WHERE (s.scope ~ '^[a-z][a-z_]*(\.[a-z][a-z_]*)*\.([a-z][a-z_]*|\*)$') IS NOT TRUE) THEN
        RAISE EXCEPTION 'scopes are 1 to 100 names of permissions, or a resource with .*' USING ERRCODE = 'DL400';
    END IF;
    creator := datalane.acting_member();
    PERFORM datalane.require_no_more_than_the_key_at_the_door(create_api_key.scopes, create_api_key.expires_at);
    INSERT INTO datalane.api_keys (workspace_id, key_id, name, secret_hash, role, scopes, created_by, created_at,
                                   expires_at)
    VALUES (app.workspace_id(), key, create_api_key.name, create_api_key.secret_hash, create_api_key.role,
            create_api_key.scopes, creator, at, create_api_key.expires_at);
    PERFORM datalane.audit('api_key.created', 'api_key', key::text, NULL, jsonb_build_object(
        'name', create_api_key.name, 'role', create_api_key.role, 'scopes', create_api_key.scopes,
        'expires_at', create_api_key.expires_at));
    RETURN at;
END $$;

CREATE FUNCTION datalane.list_api_keys(following uuid DEFAULT NULL, most integer DEFAULT 100)
RETURNS TABLE (key_id uuid, name text, role text, scopes text[], created_by uuid, created_at timestamptz,
               expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    PERFORM datalane.require_rank(3);
    RETURN QUERY
        SELECT k.key_id, k.name, k.role, k.scopes, k.created_by, k.created_at, k.expires_at, k.revoked_at,
               k.last_used_at
        FROM datalane.api_keys k
        WHERE k.workspace_id = app.workspace_id() AND (following IS NULL OR k.key_id > following)
        ORDER BY k.key_id LIMIT most;
END $$;

-- Revoking twice is revoking once. Answers when the key was revoked.
CREATE FUNCTION datalane.revoke_api_key(key uuid, now timestamptz DEFAULT NULL)
RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); since timestamptz;
BEGIN
    PERFORM datalane.require_rank(3);
    SELECT k.revoked_at INTO since FROM datalane.api_keys k
    WHERE k.workspace_id = app.workspace_id() AND k.key_id = key FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such API key' USING ERRCODE = 'DL404';
    ELSIF since IS NOT NULL THEN
        RETURN since;
    END IF;
    UPDATE datalane.api_keys k SET revoked_at = at WHERE k.workspace_id = app.workspace_id() AND k.key_id = key;
    PERFORM datalane.audit('api_key.revoked', 'api_key', key::text);
    RETURN at;
END $$;

-- Answers whose window has passed are forgotten in bites. Answers how many went.
CREATE FUNCTION datalane.forget_idempotent_answers(
    kept interval DEFAULT '24 hours', most integer DEFAULT 10000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    gone integer;
BEGIN
    DELETE FROM datalane.idempotency_keys i USING (
        SELECT o.workspace_id, o.actor_id, o.route, o.idempotency_key FROM datalane.idempotency_keys o
        WHERE o.created_at < coalesce(forget_idempotent_answers.now, clock_timestamp()) - kept LIMIT most) old
    WHERE i.workspace_id = old.workspace_id AND i.actor_id = old.actor_id AND i.route = old.route
      AND i.idempotency_key = old.idempotency_key;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

GRANT EXECUTE ON FUNCTION
    datalane.sign_up(text, text, text, text, text, timestamptz),
    datalane.find_login(text),
    datalane.start_session(uuid, bytea, interval, timestamptz),
    datalane.end_session(bytea),
    datalane.find_session(bytea, uuid, timestamptz),
    datalane.find_api_key(uuid, uuid, bytea, timestamptz),
    datalane.my_account(uuid),
    datalane.my_workspaces(uuid),
    datalane.create_workspace_for(uuid, text, text, timestamptz)
TO datalane_signin;

GRANT EXECUTE ON FUNCTION
    datalane.create_workspace(text, timestamptz),
    datalane.list_members(uuid, integer),
    datalane.create_api_key(uuid, bytea, text, text, timestamptz, text[], timestamptz),
    datalane.list_api_keys(uuid, integer),
    datalane.revoke_api_key(uuid, timestamptz)
TO datalane_app;

-- The two look-ups of every request need a secret to answer anything, so the login role may call them in one round trip.
GRANT EXECUTE ON FUNCTION
    datalane.find_session(bytea, uuid, timestamptz),
    datalane.find_api_key(uuid, uuid, bytea, timestamptz)
TO datalane_login;

GRANT EXECUTE ON FUNCTION datalane.forget_idempotent_answers(interval, integer, timestamptz) TO datalane_maintenance;

SET LOCAL ROLE datalane_owner;
