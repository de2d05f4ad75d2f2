-- An invite offers one address a role in one workspace. It knows no account: whether there is one is nobody's business
-- before it is accepted. `system`, because addresses of outsiders are for admins, whom the verbs ask for.
CREATE TABLE datalane.invites (
    workspace_id uuid NOT NULL REFERENCES datalane.workspaces (workspace_id),
    invite_id uuid NOT NULL,
    email text NOT NULL CONSTRAINT email_is_lower_case CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
    role text NOT NULL CONSTRAINT role_is_grantable CHECK (role IN ('viewer', 'member', 'admin')),
    secret_hash bytea NOT NULL CONSTRAINT secret_hash_is_sha256 CHECK (octet_length(secret_hash) = 32),
    invited_by uuid NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    accepted_at timestamptz,
    accepted_by uuid,
    revoked_at timestamptz,
    PRIMARY KEY (workspace_id, invite_id),
    CONSTRAINT expires_after_it_was_made CHECK (expires_at > created_at),
    CONSTRAINT accepted_by_somebody CHECK ((accepted_at IS NULL) = (accepted_by IS NULL)),
    CONSTRAINT accepted_or_revoked CHECK (accepted_at IS NULL OR revoked_at IS NULL),
    CONSTRAINT invited_by_a_member FOREIGN KEY (workspace_id, invited_by)
        REFERENCES datalane.memberships (workspace_id, user_id),
    CONSTRAINT accepted_by_a_member FOREIGN KEY (workspace_id, accepted_by)
        REFERENCES datalane.memberships (workspace_id, user_id)
);
CREATE UNIQUE INDEX one_open_invite_for_an_address ON datalane.invites (workspace_id, email)
    WHERE accepted_at IS NULL AND revoked_at IS NULL;
CREATE INDEX invites_of_inviter ON datalane.invites (workspace_id, invited_by);
SELECT app.protect('datalane.invites', 'system', verbs => 'SELECT, INSERT, UPDATE');

SET LOCAL ROLE datalane_definer;

-- The steps of a membership's life. The lane holds the same table as data; a test compares the two.
CREATE FUNCTION datalane.membership_may_go(source text, target text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (source, target) IN (
        ('invited', 'active'), ('invited', 'removed'), ('active', 'suspended'), ('active', 'removed'),
        ('suspended', 'active'), ('suspended', 'removed'), ('removed', 'invited'));

CREATE FUNCTION datalane.invite_status(
    accepted_at timestamptz, revoked_at timestamptz, expires_at timestamptz, at timestamptz)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN accepted_at IS NOT NULL THEN 'accepted' WHEN revoked_at IS NOT NULL THEN 'revoked'
                WHEN expires_at <= at THEN 'expired' ELSE 'open' END;

-- The role someone may hold by grant: not the owner's, which changes hands by transfer only.
CREATE FUNCTION datalane.require_grantable(role text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    IF role = 'owner' THEN
        RAISE EXCEPTION 'a workspace has exactly one owner; ownership is transferred, not granted' USING ERRCODE = 'DL409';
    ELSIF datalane.role_rank(role) = 0 THEN
        RAISE EXCEPTION 'the role must be viewer, member or admin' USING ERRCODE = 'DL400';
    END IF;
END $$;

-- Every verb that changes who belongs to a workspace takes this lock before any other, so that such changes come one
-- after another and never wait for one another in a circle.
CREATE FUNCTION datalane.lock_workspace(workspace uuid)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM FROM datalane.workspaces w WHERE w.workspace_id = workspace FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such workspace' USING ERRCODE = 'DL404';
    END IF;
END $$;

-- A member of the context's workspace, locked for a change. The owner's membership is not changed this way.
CREATE FUNCTION datalane.lock_member(member uuid, OUT role text, OUT status text)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    PERFORM datalane.lock_workspace(app.workspace_id());
    SELECT m.role, m.status INTO lock_member.role, lock_member.status FROM datalane.memberships m
    WHERE m.workspace_id = app.workspace_id() AND m.user_id = member AND m.status <> 'removed' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such member' USING ERRCODE = 'DL404';
    ELSIF lock_member.role = 'owner' THEN
        RAISE EXCEPTION 'the owner cannot be changed, suspended or removed; transfer the ownership first'
            USING ERRCODE = 'DL409';
    END IF;
END $$;

-- One step of a membership: the row, its audit record and its event. Null for what stays.
CREATE FUNCTION datalane.move_member(
    workspace uuid, member uuid, change text, actor uuid, correlation text, new_role text, new_status text, at timestamptz)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    seen record;
BEGIN
    SELECT m.role, m.status INTO STRICT seen FROM datalane.memberships m
    WHERE m.workspace_id = workspace AND m.user_id = member FOR NO KEY UPDATE;
    IF new_status <> seen.status AND NOT datalane.membership_may_go(seen.status, new_status) THEN
        RAISE EXCEPTION 'a membership cannot go from % to %', seen.status, new_status USING ERRCODE = 'DL411';
    END IF;
    UPDATE datalane.memberships m
    SET role = coalesce(new_role, m.role), status = coalesce(new_status, m.status), updated_at = at
    WHERE m.workspace_id = workspace AND m.user_id = member;
    PERFORM datalane.record_change(
        workspace, actor, correlation, change, 'membership', member::text,
        datalane.membership_json(workspace, member, seen.role, seen.status),
        datalane.membership_json(workspace, member, coalesce(new_role, seen.role), coalesce(new_status, seen.status)), at);
END $$;

CREATE FUNCTION datalane.void_invite(invite uuid, at timestamptz)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    UPDATE datalane.invites i SET revoked_at = at
    WHERE i.workspace_id = app.workspace_id() AND i.invite_id = invite AND i.accepted_at IS NULL AND i.revoked_at IS NULL;
    IF FOUND THEN
        PERFORM datalane.audit_for(app.workspace_id(), app.actor_id(), app.correlation_id(), 'invite.revoked', 'invite',
                                   invite::text, now => at);
    END IF;
END $$;

-- End a membership, and with it what its holder could still let in: the keys and the open invites that person made, and
-- an open invite to come back.
CREATE FUNCTION datalane.end_membership(member uuid, at timestamptz)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    seen constant record := datalane.lock_member(member); key uuid;
BEGIN
    FOR key IN
        UPDATE datalane.api_keys k SET revoked_at = at
        WHERE k.workspace_id = app.workspace_id() AND k.created_by = member AND k.revoked_at IS NULL RETURNING k.key_id
    LOOP
        PERFORM datalane.audit_for(app.workspace_id(), app.actor_id(), app.correlation_id(), 'api_key.revoked', 'api_key',
                                   key::text, now => at);
    END LOOP;
    PERFORM datalane.void_invite(i.invite_id, at) FROM datalane.invites i
    WHERE i.workspace_id = app.workspace_id() AND i.accepted_at IS NULL AND i.revoked_at IS NULL
      AND (i.invited_by = member OR seen.status = 'invited' AND i.email = (
          SELECT u.email FROM datalane.users u WHERE u.user_id = member));
    PERFORM datalane.move_member(app.workspace_id(), member, 'membership.removed', app.actor_id(), app.correlation_id(),
                                 NULL, 'removed', at);
END $$;

-- Offer an address a role. An open invite to the same address is void from now on. Somebody who was a member before is
-- `invited` until they accept; of anybody else the workspace learns nothing.
CREATE FUNCTION datalane.create_invite(
    invite uuid, secret_hash bytea, email text, role text, lifetime interval, now timestamptz DEFAULT NULL,
    OUT created_at timestamptz, OUT expires_at timestamptz, OUT invited_by uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); address constant text := lower(create_invite.email);
    known record;
BEGIN
    PERFORM datalane.require_rank(3);
    PERFORM datalane.require_grantable(create_invite.role);
    PERFORM datalane.lock_workspace(app.workspace_id());
    create_invite.invited_by := datalane.acting_member();
    create_invite.created_at := at;
    create_invite.expires_at := at + lifetime;
    SELECT m.user_id, m.status INTO known
    FROM datalane.users u JOIN datalane.memberships m ON m.user_id = u.user_id
    WHERE u.email = address AND m.workspace_id = app.workspace_id();
    IF known.status IN ('active', 'suspended') THEN
        RAISE EXCEPTION 'this person is a member already; change the membership instead' USING ERRCODE = 'DL409';
    ELSIF known.status = 'removed' THEN
        PERFORM datalane.move_member(app.workspace_id(), known.user_id, 'membership.changed', app.actor_id(),
                                     app.correlation_id(), create_invite.role, 'invited', at);
    END IF;
    PERFORM datalane.void_invite(i.invite_id, at) FROM datalane.invites i
    WHERE i.workspace_id = app.workspace_id() AND i.email = address AND i.accepted_at IS NULL AND i.revoked_at IS NULL;
    INSERT INTO datalane.invites (workspace_id, invite_id, email, role, secret_hash, invited_by, created_at, expires_at)
    VALUES (app.workspace_id(), invite, address, create_invite.role, create_invite.secret_hash, create_invite.invited_by,
            at, create_invite.expires_at);
    PERFORM datalane.audit_for(
        app.workspace_id(), app.actor_id(), app.correlation_id(), 'invite.created', 'invite', invite::text, NULL,
        jsonb_build_object('role', create_invite.role, 'expires_at', create_invite.expires_at), at);
END $$;

CREATE FUNCTION datalane.list_invites(
    following uuid DEFAULT NULL, most integer DEFAULT 100, invite uuid DEFAULT NULL, now timestamptz DEFAULT NULL)
RETURNS TABLE (invite_id uuid, email text, role text, status text, invited_by uuid, created_at timestamptz,
               expires_at timestamptz, accepted_at timestamptz, accepted_by uuid, revoked_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    PERFORM datalane.require_rank(3);
    RETURN QUERY
        SELECT i.invite_id, i.email, i.role,
               datalane.invite_status(i.accepted_at, i.revoked_at, i.expires_at,
                                      coalesce(list_invites.now, clock_timestamp())),
               i.invited_by, i.created_at, i.expires_at, i.accepted_at, i.accepted_by, i.revoked_at
        FROM datalane.invites i
        WHERE i.workspace_id = app.workspace_id() AND (following IS NULL OR i.invite_id > following)
          AND (invite IS NULL OR i.invite_id = invite)
        ORDER BY i.invite_id LIMIT most;
END $$;

-- Revoking twice is revoking once.
CREATE FUNCTION datalane.revoke_invite(invite uuid, now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); offer record; waiting uuid;
BEGIN
    PERFORM datalane.require_rank(3);
    PERFORM datalane.lock_workspace(app.workspace_id());
    SELECT i.email, i.accepted_at, i.revoked_at INTO offer FROM datalane.invites i
    WHERE i.workspace_id = app.workspace_id() AND i.invite_id = invite;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such invite' USING ERRCODE = 'DL404';
    ELSIF offer.accepted_at IS NOT NULL THEN
        RAISE EXCEPTION 'the invite has been accepted; remove the member instead' USING ERRCODE = 'DL409';
    ELSIF offer.revoked_at IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM datalane.void_invite(invite, at);
    SELECT m.user_id INTO waiting FROM datalane.users u JOIN datalane.memberships m ON m.user_id = u.user_id
    WHERE u.email = offer.email AND m.workspace_id = app.workspace_id() AND m.status = 'invited';
    IF FOUND THEN
        PERFORM datalane.end_membership(waiting, at);
    END IF;
END $$;

-- Accept an invite before a context exists. Who accepts is told by a session's secret alone; the invite must be to that
-- account's address. A wrong secret, another's invite and none at all are one answer. It counts as long as whoever
-- invited may still invite.
CREATE FUNCTION datalane.accept_invite(
    session_hash bytea, workspace uuid, invite uuid, secret_hash bytea, correlation text, now timestamptz DEFAULT NULL)
RETURNS TABLE (workspace_id uuid, user_id uuid, role text, status text, created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(accept_invite.now, clock_timestamp()); person record; offer record;
BEGIN
    SELECT u.user_id, u.email INTO person
    FROM datalane.find_session(session_hash, NULL, accept_invite.now) s JOIN datalane.users u ON u.user_id = s.user_id;
    IF NOT EXISTS (SELECT FROM datalane.invites i WHERE i.workspace_id = workspace AND i.invite_id = invite
                   AND i.secret_hash = accept_invite.secret_hash AND i.email = person.email) THEN
        RAISE EXCEPTION 'no such invite' USING ERRCODE = 'DL404';
    END IF;
    PERFORM datalane.lock_workspace(workspace);
    SELECT i.role, datalane.invite_status(i.accepted_at, i.revoked_at, i.expires_at, at) AS status,
           m.status = 'active' AND datalane.role_rank(m.role) >= 3 AS holds, own.status AS standing
    INTO STRICT offer
    FROM datalane.invites i
    JOIN datalane.memberships m ON m.workspace_id = i.workspace_id AND m.user_id = i.invited_by
    LEFT JOIN datalane.memberships own ON own.workspace_id = i.workspace_id AND own.user_id = person.user_id
    WHERE i.workspace_id = workspace AND i.invite_id = invite;
    IF offer.status <> 'open' THEN
        RAISE EXCEPTION '%', CASE offer.status
            WHEN 'accepted' THEN 'you have accepted this invite already'
            WHEN 'revoked' THEN 'the invite has been revoked; ask for a new one'
            ELSE 'the invite has expired; ask for a new one' END USING ERRCODE = 'DL409';
    ELSIF NOT offer.holds THEN
        RAISE EXCEPTION 'whoever invited you may no longer invite; ask for a new one' USING ERRCODE = 'DL409';
    ELSIF offer.standing <> 'invited' THEN
        RAISE EXCEPTION 'your membership does not wait for an answer; ask for a new invite' USING ERRCODE = 'DL409';
    END IF;
    IF offer.standing IS NULL THEN
        INSERT INTO datalane.memberships (workspace_id, user_id, role, status, created_at, updated_at)
        VALUES (workspace, person.user_id, offer.role, 'active', at, at);
        PERFORM datalane.record_change(workspace, person.user_id, correlation, 'membership.added', 'membership',
            person.user_id::text, NULL, datalane.membership_json(workspace, person.user_id, offer.role, 'active'), at);
    ELSE
        PERFORM datalane.move_member(workspace, person.user_id, 'membership.added', person.user_id, correlation,
                                     offer.role, 'active', at);
    END IF;
    UPDATE datalane.invites i SET accepted_at = at, accepted_by = person.user_id
    WHERE i.workspace_id = workspace AND i.invite_id = invite;
    PERFORM datalane.audit_for(workspace, person.user_id, correlation, 'invite.accepted', 'invite', invite::text, now => at);
    RETURN QUERY
        SELECT m.workspace_id, m.user_id, m.role, m.status, m.created_at, m.updated_at FROM datalane.memberships m
        WHERE m.workspace_id = workspace AND m.user_id = person.user_id;
END $$;

-- Change the role, the status (`active` or `suspended`), or both. What is so already leaves no record.
CREATE FUNCTION datalane.change_member(
    member uuid, new_role text DEFAULT NULL, new_status text DEFAULT NULL, now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    seen record;
BEGIN
    PERFORM datalane.require_rank(3);
    IF new_role IS NOT NULL THEN
        PERFORM datalane.require_grantable(new_role);
    END IF;
    IF new_status NOT IN ('active', 'suspended') THEN
        RAISE EXCEPTION 'the status must be active or suspended' USING ERRCODE = 'DL400';
    END IF;
    seen := datalane.lock_member(member);
    IF seen.status = 'invited' THEN
        RAISE EXCEPTION 'this person has not accepted yet; make a new invite instead' USING ERRCODE = 'DL411';
    ELSIF seen.role IS DISTINCT FROM coalesce(new_role, seen.role)
       OR seen.status IS DISTINCT FROM coalesce(new_status, seen.status) THEN
        PERFORM datalane.move_member(app.workspace_id(), member, 'membership.changed', app.actor_id(),
                                     app.correlation_id(), new_role, new_status, coalesce(now, clock_timestamp()));
    END IF;
END $$;

CREATE FUNCTION datalane.remove_member(member uuid, now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.require_rank(3);
    PERFORM datalane.end_membership(member, coalesce(now, clock_timestamp()));
END $$;

-- The person at the door leaves. A key is nobody's membership, so it cannot leave for its creator.
CREATE FUNCTION datalane.leave_workspace(now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.require_rank(1);
    PERFORM datalane.end_membership(app.actor_id(), coalesce(now, clock_timestamp()));
END $$;

-- The owner at the door hands the workspace to an active member and becomes an admin. One lock lets transfers in one at
-- a time, so the loser of a race finds that it is not the owner any more. The partial unique index and the deferred
-- foreign key hold exactly one owner whatever this verb does.
CREATE FUNCTION datalane.transfer_ownership(
    new_owner uuid, now timestamptz DEFAULT NULL, OUT former_owner_id uuid, OUT transferred_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); standing text; taker text;
BEGIN
    PERFORM datalane.require_rank(4);
    PERFORM datalane.lock_workspace(app.workspace_id());
    SELECT m.role INTO standing FROM datalane.memberships m
    WHERE m.workspace_id = app.workspace_id() AND m.user_id = app.actor_id();
    SELECT m.status INTO taker FROM datalane.memberships m
    WHERE m.workspace_id = app.workspace_id() AND m.user_id = new_owner AND m.status <> 'removed';
    IF standing IS NULL THEN
        RAISE EXCEPTION 'only the owner in person transfers the ownership; sign in to do it' USING ERRCODE = 'DL403';
    ELSIF standing <> 'owner' THEN
        RAISE EXCEPTION 'the workspace has another owner now' USING ERRCODE = 'DL409';
    ELSIF taker IS NULL THEN
        RAISE EXCEPTION 'no such member' USING ERRCODE = 'DL404';
    ELSIF taker <> 'active' OR new_owner = app.actor_id() THEN
        RAISE EXCEPTION 'the ownership goes to another active member' USING ERRCODE = 'DL409';
    END IF;
    PERFORM datalane.move_member(app.workspace_id(), app.actor_id(), 'membership.changed', app.actor_id(),
                                 app.correlation_id(), 'admin', NULL, at);
    PERFORM datalane.move_member(app.workspace_id(), new_owner, 'membership.changed', app.actor_id(),
                                 app.correlation_id(), 'owner', NULL, at);
    UPDATE datalane.workspaces w SET owner_id = new_owner WHERE w.workspace_id = app.workspace_id();
    PERFORM datalane.audit_for(
        app.workspace_id(), app.actor_id(), app.correlation_id(), 'ownership.transferred', 'workspace',
        app.workspace_id()::text, jsonb_build_object('owner_id', app.actor_id()),
        jsonb_build_object('owner_id', new_owner), at);
    transfer_ownership.former_owner_id := app.actor_id();
    transfer_ownership.transferred_at := at;
END $$;

CREATE FUNCTION datalane.rename_workspace(name text, now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    former text;
BEGIN
    PERFORM datalane.require_rank(3);
    IF (length(rename_workspace.name) BETWEEN 1 AND 200) IS NOT TRUE THEN
        RAISE EXCEPTION 'the name must have 1 to 200 characters' USING ERRCODE = 'DL400';
    END IF;
    PERFORM datalane.lock_workspace(app.workspace_id());
    SELECT w.name INTO former FROM datalane.workspaces w WHERE w.workspace_id = app.workspace_id();
    UPDATE datalane.workspaces w SET name = rename_workspace.name WHERE w.workspace_id = app.workspace_id();
    PERFORM datalane.audit_for(
        app.workspace_id(), app.actor_id(), app.correlation_id(), 'workspace.renamed', 'workspace',
        app.workspace_id()::text, jsonb_build_object('name', former),
        jsonb_build_object('name', rename_workspace.name), now);
END $$;

GRANT EXECUTE ON FUNCTION datalane.accept_invite(bytea, uuid, uuid, bytea, text, timestamptz) TO datalane_signin;

GRANT EXECUTE ON FUNCTION
    datalane.create_invite(uuid, bytea, text, text, interval, timestamptz),
    datalane.list_invites(uuid, integer, uuid, timestamptz),
    datalane.revoke_invite(uuid, timestamptz),
    datalane.change_member(uuid, text, text, timestamptz),
    datalane.remove_member(uuid, timestamptz),
    datalane.leave_workspace(timestamptz),
    datalane.transfer_ownership(uuid, timestamptz),
    datalane.rename_workspace(text, timestamptz)
TO datalane_app;

SET LOCAL ROLE datalane_owner;
