-- By what the notifications of a category go out. A preference of one's own comes first, then the workspace's default, then
-- what the category has by itself. What a category is stands in the code; a row of one that is gone has no effect.
CREATE TABLE datalane.notification_defaults (
    workspace_id uuid NOT NULL,
    category text NOT NULL CONSTRAINT a_category_is_short CHECK (length(category) BETWEEN 1 AND 50),
    channel text NOT NULL CONSTRAINT channel_is_known CHECK (channel IN ('in_app', 'email', 'webhook')),
    wanted boolean NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, category, channel)
);
SELECT app.protect('datalane.notification_defaults', 'managed', verbs => 'SELECT');

CREATE TABLE datalane.notification_preferences (
    workspace_id uuid NOT NULL,
    actor_id uuid NOT NULL,
    category text NOT NULL CONSTRAINT a_category_is_short CHECK (length(category) BETWEEN 1 AND 50),
    channel text NOT NULL CONSTRAINT channel_is_known CHECK (channel IN ('in_app', 'email', 'webhook')),
    wanted boolean NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, actor_id, category, channel)
);
SELECT app.protect('datalane.notification_preferences', 'self', verbs => 'SELECT');

-- What one member is told. `actor_id` is the member; nobody else reads it. Without `in_app` it is in no list: the member wants
-- it by another channel alone. Nothing refers to it, so that its months can go.
CREATE TABLE datalane.notifications (
    workspace_id uuid NOT NULL,
    notification_id uuid NOT NULL,
    actor_id uuid NOT NULL,
    category text NOT NULL,
    title text NOT NULL CONSTRAINT a_title_is_short CHECK (length(title) BETWEEN 1 AND 500),
    body text NOT NULL CONSTRAINT a_body_is_short CHECK (length(body) <= 10000),
    subject_type text,
    subject_id text,
    link text CONSTRAINT a_link_is_short CHECK (length(link) <= 2000),
    in_app boolean NOT NULL,
    dedupe_key text,
    created_at timestamptz NOT NULL,
    read_at timestamptz,
    correlation_id text NOT NULL,
    PRIMARY KEY (workspace_id, notification_id)
) PARTITION BY RANGE (notification_id);
CREATE INDEX notifications_of_member ON datalane.notifications (workspace_id, actor_id, notification_id) WHERE in_app;
CREATE INDEX notifications_unread ON datalane.notifications (workspace_id, actor_id, notification_id) WHERE in_app AND read_at IS NULL;
CREATE INDEX notifications_told_once ON datalane.notifications (workspace_id, actor_id, dedupe_key) WHERE dedupe_key IS NOT NULL;
SELECT app.protect('datalane.notifications', 'self', verbs => 'SELECT, INSERT');
SELECT app.add_partitions('datalane.notifications', now() - interval '1 month', 5);

-- What became of a notification on a channel that leads out. `system`: an admin asks a verb, as it tells what somebody wants.
CREATE TABLE datalane.notification_deliveries (
    workspace_id uuid NOT NULL,
    notification_id uuid NOT NULL,
    channel text NOT NULL CONSTRAINT channel_leads_out CHECK (channel IN ('email', 'webhook')),
    user_id uuid NOT NULL,
    category text NOT NULL,
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('pending', 'sent', 'failed', 'skipped', 'dead_letter')),
    reason text,
    attempt_count integer NOT NULL DEFAULT 0 CONSTRAINT attempts_count_from_zero CHECK (attempt_count >= 0),
    last_error_class text,
    last_error_message text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, notification_id, channel),
    CONSTRAINT skipped_for_a_reason CHECK (status <> 'skipped' OR reason IS NOT NULL)
) PARTITION BY RANGE (notification_id);
CREATE INDEX notification_deliveries_by_status ON datalane.notification_deliveries (workspace_id, status, notification_id);
SELECT app.protect('datalane.notification_deliveries', 'system', verbs => 'SELECT, INSERT, UPDATE',
                   operator_columns => '{workspace_id,notification_id,channel,category,status,reason,attempt_count,last_error_class,created_at,updated_at}');
SELECT app.add_partitions('datalane.notification_deliveries', now() - interval '1 month', 5);

SET LOCAL ROLE datalane_definer;

-- What is stored of whether a member wants a category by a channel: their own word, else the workspace's, else null.
CREATE FUNCTION datalane.notification_wish(member uuid, category text, channel text)
RETURNS boolean LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(
        (SELECT p.wanted FROM datalane.notification_preferences p
         WHERE p.workspace_id = app.workspace_id() AND p.actor_id = notification_wish.member
           AND p.category = notification_wish.category AND p.channel = notification_wish.channel),
        (SELECT d.wanted FROM datalane.notification_defaults d
         WHERE d.workspace_id = app.workspace_id() AND d.category = notification_wish.category
           AND d.channel = notification_wish.channel))
$$;

-- The steps of a delivery. The lane holds the same table as data; a test compares the two.
CREATE FUNCTION datalane.notification_delivery_may_go(source text, target text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (source, target) IN (
        ('pending', 'sent'), ('pending', 'failed'), ('pending', 'skipped'), ('pending', 'dead_letter'),
        ('failed', 'pending'), ('dead_letter', 'pending'));

-- Tell active members, by role or by id. `usual` are the channels of the category, `required` those that cannot be switched
-- off. Of a `dedupe_key` each member is told once. Answers a row a member who wants it by any channel, with those channels; what
-- leads out has a pending delivery, for which the caller leaves a job.
CREATE FUNCTION datalane.add_notifications(
    category text, title text, body text, roles text[], user_ids uuid[], usual text[], required text[],
    subject_type text DEFAULT NULL, subject_id text DEFAULT NULL, link text DEFAULT NULL, dedupe_key text DEFAULT NULL,
    correlation_id text DEFAULT NULL, now timestamptz DEFAULT NULL)
RETURNS TABLE (notification_id uuid, user_id uuid, channels text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(add_notifications.now, clock_timestamp());
BEGIN
    PERFORM datalane.require_rank(2);
    IF add_notifications.dedupe_key IS NOT NULL THEN
        -- Two at once: the second waits, and finds what the first has told.
        PERFORM pg_advisory_xact_lock(hashtextextended(concat_ws('/', app.workspace_id(), add_notifications.dedupe_key), 29));
    END IF;
    RETURN QUERY
        WITH meant AS MATERIALIZED (
            SELECT app.uuid7() AS id, m.user_id AS member, ARRAY(
                SELECT c.name FROM unnest(ARRAY['email', 'in_app', 'webhook']) AS c (name)
                WHERE c.name = ANY (coalesce(add_notifications.required, '{}')) OR coalesce(
                    datalane.notification_wish(m.user_id, add_notifications.category, c.name),
                    c.name = ANY (coalesce(add_notifications.usual, '{}')))) AS wanted
            FROM datalane.memberships m
            WHERE m.workspace_id = app.workspace_id() AND m.status = 'active'
              AND (m.role = ANY (add_notifications.roles) OR m.user_id = ANY (add_notifications.user_ids))
              AND (add_notifications.dedupe_key IS NULL OR NOT EXISTS (
                  SELECT FROM datalane.notifications n WHERE n.workspace_id = app.workspace_id() AND n.actor_id = m.user_id
                  AND n.dedupe_key = add_notifications.dedupe_key))
        ), told AS (
            INSERT INTO datalane.notifications (workspace_id, notification_id, actor_id, category, title, body, subject_type,
                                                subject_id, link, in_app, dedupe_key, created_at, correlation_id)
            SELECT app.workspace_id(), t.id, t.member, add_notifications.category, add_notifications.title,
                   add_notifications.body, add_notifications.subject_type, add_notifications.subject_id,
                   add_notifications.link, 'in_app' = ANY (t.wanted), add_notifications.dedupe_key, at,
                   coalesce(add_notifications.correlation_id, app.correlation_id())
            FROM meant t WHERE cardinality(t.wanted) > 0
        ), leaving AS (
            INSERT INTO datalane.notification_deliveries (workspace_id, notification_id, channel, user_id, category, status,
                                                          created_at, updated_at)
            SELECT app.workspace_id(), t.id, c.name, t.member, add_notifications.category, 'pending', at, at
            FROM meant t CROSS JOIN LATERAL unnest(t.wanted) AS c (name) WHERE c.name <> 'in_app'
        )
        SELECT t.id, t.member, t.wanted FROM meant t WHERE cardinality(t.wanted) > 0 ORDER BY t.member;
END $$;

-- What is to be sent, for whoever sends it: the member's address, if they are an active member still, and what they wish now.
CREATE FUNCTION datalane.read_notification_deliveries(notification_ids uuid[], channel text)
RETURNS TABLE (notification_id uuid, status text, is_member boolean, wish boolean, email text, workspace_name text,
               category text, title text, body text, link text, created_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    PERFORM datalane.require_rank(4);
    RETURN QUERY
        SELECT d.notification_id, d.status, m.user_id IS NOT NULL,
               datalane.notification_wish(d.user_id, d.category, d.channel), u.email, w.name, d.category, n.title, n.body,
               n.link, n.created_at
        FROM datalane.notification_deliveries d
        JOIN datalane.notifications n ON n.workspace_id = d.workspace_id AND n.notification_id = d.notification_id
        JOIN datalane.workspaces w ON w.workspace_id = d.workspace_id
        LEFT JOIN datalane.memberships m
            ON m.workspace_id = d.workspace_id AND m.user_id = d.user_id AND m.status = 'active'
        LEFT JOIN datalane.users u ON u.user_id = m.user_id
        WHERE d.workspace_id = app.workspace_id() AND d.channel = read_notification_deliveries.channel
          AND d.notification_id = ANY (read_notification_deliveries.notification_ids)
        ORDER BY d.notification_id;
END $$;

-- A step of deliveries; `pending` to `pending` notes an attempt that failed and will be tried again. Answers those that took it.
CREATE FUNCTION datalane.move_notification_deliveries(
    notification_ids uuid[], channel text, target text, reason text DEFAULT NULL, attempt integer DEFAULT NULL,
    error_class text DEFAULT NULL, error_message text DEFAULT NULL, now timestamptz DEFAULT NULL)
RETURNS uuid[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    moved uuid[];
BEGIN
    PERFORM datalane.require_rank(4);
    WITH done AS (
        UPDATE datalane.notification_deliveries d
        SET status = target, reason = move_notification_deliveries.reason, attempt_count = coalesce(attempt, d.attempt_count),
            last_error_class = coalesce(error_class, d.last_error_class),
            last_error_message = coalesce(error_message, d.last_error_message),
            updated_at = coalesce(move_notification_deliveries.now, clock_timestamp())
        WHERE d.workspace_id = app.workspace_id() AND d.channel = move_notification_deliveries.channel
          AND d.notification_id = ANY (notification_ids)
          AND (datalane.notification_delivery_may_go(d.status, target) OR (d.status = 'pending' AND target = 'pending'))
        RETURNING d.notification_id
    )
    SELECT array_agg(done.notification_id ORDER BY done.notification_id) INTO moved FROM done;
    RETURN coalesce(moved, '{}');
END $$;

-- The log of deliveries, the newest first, after a place in it. It tells of whom and of which category, not what was said.
CREATE FUNCTION datalane.list_notification_deliveries(
    following uuid DEFAULT NULL, following_channel text DEFAULT NULL, wanted_status text DEFAULT NULL,
    wanted_channel text DEFAULT NULL, most integer DEFAULT 100)
RETURNS TABLE (notification_id uuid, channel text, user_id uuid, category text, status text, reason text,
               attempt_count integer, last_error_class text, last_error_message text, created_at timestamptz,
               updated_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    PERFORM datalane.require_rank(3);
    RETURN QUERY
        SELECT d.notification_id, d.channel, d.user_id, d.category, d.status, d.reason, d.attempt_count, d.last_error_class,
               d.last_error_message, d.created_at, d.updated_at
        FROM datalane.notification_deliveries d
        WHERE d.workspace_id = app.workspace_id()
          AND (following IS NULL OR d.notification_id < following
               OR (d.notification_id = following AND d.channel < following_channel))
          AND (wanted_status IS NULL OR d.status = wanted_status)
          AND (wanted_channel IS NULL OR d.channel = wanted_channel)
        ORDER BY d.notification_id DESC, d.channel DESC LIMIT most;
END $$;

GRANT EXECUTE ON FUNCTION
    datalane.add_notifications(text, text, text, text[], uuid[], text[], text[], text, text, text, text, text, timestamptz),
    datalane.read_notification_deliveries(uuid[], text),
    datalane.move_notification_deliveries(uuid[], text, text, text, integer, text, text, timestamptz),
    datalane.list_notification_deliveries(uuid, text, text, text, integer)
TO datalane_app;

SET LOCAL ROLE datalane_owner;
