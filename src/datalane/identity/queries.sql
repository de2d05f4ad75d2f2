-- The verbs of the identity tables. Those before a context exists go through the sign-in door.

-- name: sign_up(email, name, password_hash, workspace_name, correlation_id, now)^
-- A user, the first workspace and its owner's membership.
SELECT user_id, workspace_id
FROM datalane.sign_up(:email, :name, :password_hash, :workspace_name, :correlation_id, :now);

-- name: this_moment()$
-- By the clock that the verbs go by.
SELECT clock_timestamp();

-- name: find_login(email)^
-- The stored hash of an address.
SELECT user_id, password_hash FROM datalane.find_login(:email);

-- name: start_session(user_id, token_hash, lifetime, family_hash, refresh_hash, refresh_lifetime, now)^
SELECT session_id, expires_at, refresh_expires_at
FROM datalane.start_session(
    :user_id, :token_hash, :lifetime, :family_hash, :refresh_hash, :refresh_lifetime, :now);

-- name: refresh_session(family_hash, refresh_hash, new_token_hash, new_refresh_hash, lifetime, refresh_lifetime, correlation_id, now)^
SELECT outcome, session_id, user_id, expires_at, refresh_expires_at
FROM datalane.refresh_session(
    :family_hash, :refresh_hash, :new_token_hash, :new_refresh_hash, :lifetime, :refresh_lifetime, :correlation_id, :now);

-- name: end_sessions(user_id, reason, session_id, now)$
-- One session, or all of the user's.
SELECT datalane.end_sessions(:user_id, :reason, :session_id, :now);

-- name: list_sessions(user_id, following, most, now)
SELECT session_id, created_at, refreshed_at, expires_at FROM datalane.list_sessions(:user_id, :following, :most, :now);

-- name: take_attempt(buckets, bursts, pauses, spared, now)^
SELECT retry_after, refused_by FROM datalane.take_attempt(:buckets, :bursts, :pauses, :spared, :now);

-- name: trust_attempt(bucket, kept, now)!
SELECT datalane.trust_attempt(:bucket, :kept, :now);

-- name: enter_by_identity(issuer, subject, email, name, workspace_name, correlation_id, now)^
SELECT outcome, user_id
FROM datalane.enter_by_identity(:issuer, :subject, :email, :name, :workspace_name, :correlation_id, :now);

-- name: find_session(token_hash, workspace_id, now)^
-- Who a session token stands for, and where.
SELECT session_id, user_id, expires_at, workspace_id, role
FROM datalane.find_session(:token_hash, :workspace_id, :now);

-- name: find_api_key(workspace_id, key_id, secret_hash, now)^
-- Who an API key stands for.
SELECT key_id, created_by, expires_at, role, scopes
FROM datalane.find_api_key(:workspace_id, :key_id, :secret_hash, :now);

-- name: my_account(user_id)^
SELECT user_id, email, name FROM datalane.my_account(:user_id);

-- name: my_workspaces(user_id)
SELECT workspace_id, name, search_language, role, created_at FROM datalane.my_workspaces(:user_id);

-- name: create_workspace_for(owner_id, name, correlation_id, now)^
SELECT workspace_id, search_language, created_at
FROM datalane.create_workspace_for(:owner_id, :name, :correlation_id, :now);

-- name: create_workspace(name, now)^
SELECT workspace_id, search_language, created_at FROM datalane.create_workspace(:name, :now);

-- name: get_workspace(workspace_id)^
SELECT workspace_id, name, search_language, owner_id, created_at
FROM datalane.workspaces WHERE workspace_id = :workspace_id;

-- name: list_members(following, most)
SELECT workspace_id, user_id, email, name, role, status, created_at, updated_at
FROM datalane.list_members(:following, :most);

-- name: count_members(workspace_id)$
SELECT count(*) FROM datalane.memberships WHERE workspace_id = :workspace_id AND status <> 'removed';

-- name: get_member(workspace_id, user_id)^
SELECT workspace_id, user_id, role, status, created_at, updated_at
FROM datalane.memberships WHERE workspace_id = :workspace_id AND user_id = :user_id;

-- name: change_member(user_id, role, status, now)$
SELECT datalane.change_member(:user_id, :role, :status, :now);

-- name: remove_member(user_id, now)$
SELECT datalane.remove_member(:user_id, :now);

-- name: leave_workspace(now)$
SELECT datalane.leave_workspace(:now);

-- name: set_search_language(language, now)$
-- Say what language the workspace's texts are in.
SELECT datalane.set_search_language(:language, :now);

-- name: rename_workspace(name, now)$
SELECT datalane.rename_workspace(:name, :now);

-- name: transfer_ownership(new_owner, now)^
SELECT former_owner_id, transferred_at FROM datalane.transfer_ownership(:new_owner, :now);

-- name: create_invite(invite_id, secret_hash, email, role, lifetime, now)^
SELECT created_at, expires_at, invited_by
FROM datalane.create_invite(:invite_id, :secret_hash, :email, :role, :lifetime, :now);

-- name: list_invites(following, most, invite_id, now)
-- A page of the workspace's invites, or the one named.
SELECT invite_id, email, role, status, invited_by, created_at, expires_at, accepted_at, accepted_by, revoked_at
FROM datalane.list_invites(:following, :most, :invite_id, :now);

-- name: revoke_invite(invite_id, now)$
SELECT datalane.revoke_invite(:invite_id, :now);

-- name: accept_invite(session_hash, workspace_id, invite_id, secret_hash, correlation_id, now)^
-- Join by an invite; the session says who does.
SELECT workspace_id, user_id, role, status, created_at, updated_at
FROM datalane.accept_invite(:session_hash, :workspace_id, :invite_id, :secret_hash, :correlation_id, :now);

-- name: create_api_key(key_id, secret_hash, name, role, expires_at, scopes, now)$
SELECT datalane.create_api_key(:key_id, :secret_hash, :name, :role, :expires_at, :scopes, :now);

-- name: list_api_keys(following, most)
SELECT key_id, name, role, scopes, created_by, created_at, expires_at, revoked_at, last_used_at
FROM datalane.list_api_keys(:following, :most);

-- name: revoke_api_key(key_id, now)$
SELECT datalane.revoke_api_key(:key_id, :now);
