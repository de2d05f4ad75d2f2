-- name: add_notifications(category, title, body, roles, user_ids, usual, required, subject_type, subject_id, link, dedupe_key, correlation_id, now)
-- Tell active members who want it; one row each, with the channels.
SELECT notification_id, user_id, channels
FROM datalane.add_notifications(
    :category::text, :title::text, :body::text, :roles::text[], :user_ids::uuid[], :usual::text[], :required::text[],
    :subject_type::text, :subject_id::text, :link::text, :dedupe_key::text, :correlation_id::text, :now::timestamptz);

-- name: read_deliveries(notification_ids, channel)
-- What is to be sent, to whom, and whether they want it now.
SELECT notification_id, status, is_member, wish, email, workspace_name, category, title, body, link, created_at
FROM datalane.read_notification_deliveries(:notification_ids::uuid[], :channel::text);

-- name: move_deliveries(notification_ids, channel, target, reason, attempt, error_class, error_message, now)$
-- A step of deliveries; the ids of those that took it.
SELECT datalane.move_notification_deliveries(
    :notification_ids::uuid[], :channel::text, :target::text, :reason::text, :attempt::integer, :error_class::text,
    :error_message::text, :now::timestamptz);

-- name: list_deliveries(following, following_channel, status, channel, page_size)
-- The log of deliveries, the newest first.
SELECT notification_id, channel, user_id, category, status, reason, attempt_count, last_error_class, last_error_message,
       created_at, updated_at
FROM datalane.list_notification_deliveries(
    :following::uuid, :following_channel::text, :status::text, :channel::text, :page_size::integer);

-- name: list_notifications(workspace_id, actor_id, unread, before, page_size)
-- One's own notifications, the newest first.
SELECT notification_id, category, title, body AS text, subject_type, subject_id, link, created_at, read_at, correlation_id
FROM datalane.notifications
WHERE workspace_id = :workspace_id AND actor_id = :actor_id AND in_app AND (NOT :unread::boolean OR read_at IS NULL)
  AND (:before::uuid IS NULL OR notification_id < :before)
ORDER BY notification_id DESC LIMIT :page_size;

-- name: count_unread(workspace_id, actor_id)$
-- How many of one's own are not read.
SELECT count(*) FROM datalane.notifications
WHERE workspace_id = :workspace_id AND actor_id = :actor_id AND in_app AND read_at IS NULL;

-- name: get_notification(workspace_id, actor_id, notification_id)^
-- One of one's own.
SELECT notification_id, category, title, body AS text, subject_type, subject_id, link, created_at, read_at, correlation_id
FROM datalane.notifications
WHERE workspace_id = :workspace_id AND actor_id = :actor_id AND notification_id = :notification_id;

-- name: count_known(workspace_id, actor_id, notification_ids)$
-- How many of these are one's own.
SELECT count(*) FROM datalane.notifications
WHERE workspace_id = :workspace_id AND actor_id = :actor_id AND notification_id = ANY (:notification_ids::uuid[]);

-- name: read_some(workspace_id, actor_id, notification_ids, now)!
-- Some of one's own were read.
UPDATE datalane.notifications SET read_at = :now
WHERE workspace_id = :workspace_id AND actor_id = :actor_id AND notification_id = ANY (:notification_ids::uuid[])
  AND read_at IS NULL;

-- name: read_up_to(workspace_id, actor_id, notification_id, now)!
-- All of one's own up to one were read.
UPDATE datalane.notifications SET read_at = :now
WHERE workspace_id = :workspace_id AND actor_id = :actor_id AND notification_id <= :notification_id AND in_app
  AND read_at IS NULL;

-- name: lock_preferences(workspace_id, owner_id)$
-- One's own preferences, or the workspace's defaults, change one at a time.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws('/', :workspace_id::uuid, :owner_id::uuid), 30));

-- name: list_preferences(workspace_id, actor_id)
-- One's own word.
SELECT category, channel, wanted FROM datalane.notification_preferences
WHERE workspace_id = :workspace_id AND actor_id = :actor_id;

-- name: put_preferences(workspace_id, actor_id, categories, channels, wanted, now)!
-- One's own word on some channels of categories.
INSERT INTO datalane.notification_preferences (workspace_id, actor_id, category, channel, wanted, updated_at)
SELECT :workspace_id, :actor_id, i.category, i.channel, i.wanted, :now
FROM unnest(:categories::text[], :channels::text[], :wanted::boolean[]) AS i (category, channel, wanted)
ON CONFLICT (workspace_id, actor_id, category, channel)
    DO UPDATE SET wanted = EXCLUDED.wanted, updated_at = EXCLUDED.updated_at;

-- name: forget_preferences(workspace_id, actor_id, categories, channels)!
-- One's own word on some channels of categories is taken back.
DELETE FROM datalane.notification_preferences p
USING unnest(:categories::text[], :channels::text[]) AS i (category, channel)
WHERE p.workspace_id = :workspace_id AND p.actor_id = :actor_id AND p.category = i.category AND p.channel = i.channel;

-- name: list_defaults(workspace_id)
-- The workspace's word.
SELECT category, channel, wanted FROM datalane.notification_defaults WHERE workspace_id = :workspace_id;

-- name: put_defaults(workspace_id, actor_id, categories, channels, wanted, now)!
-- The workspace's word on some channels of categories.
INSERT INTO datalane.notification_defaults (workspace_id, category, channel, wanted, updated_at, updated_by_actor_id)
SELECT :workspace_id, i.category, i.channel, i.wanted, :now, :actor_id
FROM unnest(:categories::text[], :channels::text[], :wanted::boolean[]) AS i (category, channel, wanted)
ON CONFLICT (workspace_id, category, channel)
    DO UPDATE SET wanted = EXCLUDED.wanted, updated_at = EXCLUDED.updated_at,
                  updated_by_actor_id = EXCLUDED.updated_by_actor_id;

-- name: forget_defaults(workspace_id, categories, channels)!
-- The workspace's word on some channels of categories is taken back.
DELETE FROM datalane.notification_defaults d
USING unnest(:categories::text[], :channels::text[]) AS i (category, channel)
WHERE d.workspace_id = :workspace_id AND d.category = i.category AND d.channel = i.channel;
