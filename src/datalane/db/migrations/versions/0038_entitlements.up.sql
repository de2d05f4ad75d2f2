-- The vendor's plans, for the whole lane. A version never changes; the digest is of what it says. The default plan holds where none is
-- assigned, from `default_from` to `default_until`.
CREATE TABLE datalane.plans (
    plan_id text NOT NULL CONSTRAINT plans_have_plain_names CHECK (plan_id ~ '^[a-z][a-z0-9_.-]{0,63}$'),
    plan_version integer NOT NULL CONSTRAINT versions_begin_at_one CHECK (plan_version > 0),
    features text[] NOT NULL CONSTRAINT features_are_few CHECK (cardinality(features) <= 500),
    content_sha256 bytea NOT NULL CONSTRAINT a_digest_has_32_bytes CHECK (octet_length(content_sha256) = 32),
    registered_at timestamptz NOT NULL,
    retired_at timestamptz,
    default_from timestamptz,
    default_until timestamptz,
    CONSTRAINT what_ends_has_begun CHECK ((default_until IS NOT NULL) <= (default_from IS NOT NULL)),
    PRIMARY KEY (plan_id, plan_version)
);
SELECT app.protect('datalane.plans', 'global', verbs => 'SELECT, INSERT, UPDATE',
                   operator_columns => '{plan_id,plan_version,features,registered_at,retired_at,default_from,default_until}');

-- What a plan allows in each window: null is no limit. Days and months begin at midnight of the time zone, that of UTC without one; a
-- rolling window is the last `seconds`. `warn_at` are percents of the limit.
CREATE TABLE datalane.plan_quotas (
    plan_id text NOT NULL,
    plan_version integer NOT NULL,
    quota_key text NOT NULL CONSTRAINT keys_are_plain CHECK (quota_key ~ '^[a-z][a-z0-9_.-]{0,63}$'),
    limit_units bigint CONSTRAINT limits_are_bounded CHECK (limit_units BETWEEN 0 AND 1000000000000000),
    in_window text NOT NULL CONSTRAINT window_is_known CHECK (in_window IN ('minute', 'hour', 'day', 'month', 'rolling')),
    seconds integer CONSTRAINT windows_roll_for_a_time CHECK (seconds BETWEEN 60 AND 34560000),
    time_zone text,
    warn_at integer[] NOT NULL CONSTRAINT warnings_are_few CHECK (cardinality(warn_at) <= 5),
    CONSTRAINT what_rolls_has_seconds CHECK ((in_window = 'rolling') = (seconds IS NOT NULL)),
    PRIMARY KEY (plan_id, plan_version, quota_key),
    CONSTRAINT quotas_are_of_a_plan FOREIGN KEY (plan_id, plan_version) REFERENCES datalane.plans (plan_id, plan_version)
);
SELECT app.protect('datalane.plan_quotas', 'global', verbs => 'SELECT, INSERT',
                   operator_columns => '{plan_id,plan_version,quota_key,limit_units,in_window,seconds,time_zone,warn_at}');

-- Which plan a workspace has from when on. A later one takes the place of an earlier one; nothing is changed afterwards, so that what
-- was enforced at a moment can be told. What was planned and did not come is canceled.
CREATE TABLE datalane.workspace_plans (
    workspace_id uuid NOT NULL,
    assignment_id uuid NOT NULL,
    plan_id text NOT NULL,
    plan_version integer NOT NULL,
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('enabled', 'grace', 'disabled')),
    effective_at timestamptz NOT NULL,
    expires_at timestamptz CONSTRAINT plans_expire_after_they_begin CHECK (expires_at > effective_at),
    source text NOT NULL CONSTRAINT sources_are_short CHECK (length(source) BETWEEN 1 AND 100),
    reason text CONSTRAINT reasons_are_short CHECK (length(reason) BETWEEN 1 AND 500),
    assigned_at timestamptz NOT NULL,
    updated_by_actor_id uuid NOT NULL,
    canceled_at timestamptz,
    PRIMARY KEY (workspace_id, assignment_id)
);
CREATE INDEX workspace_plans_by_time ON datalane.workspace_plans (workspace_id, effective_at, assignment_id);
SELECT app.protect('datalane.workspace_plans', 'log', verbs => 'SELECT, INSERT, UPDATE', operator_columns =>
    '{workspace_id,assignment_id,plan_id,plan_version,status,effective_at,expires_at,source,assigned_at,updated_by_actor_id,canceled_at}');

-- What was agreed beside the plan: a feature with its status, or a quota with its limit, null for none. `recovery` lifts the limit of a
-- quota for a time, which is to pass.
CREATE TABLE datalane.entitlement_overrides (
    workspace_id uuid NOT NULL,
    override_id uuid NOT NULL,
    kind text NOT NULL CONSTRAINT kind_is_known CHECK (kind IN ('feature', 'quota', 'recovery')),
    key text NOT NULL CONSTRAINT keys_are_plain CHECK (key ~ '^[a-z][a-z0-9_.-]{0,63}$'),
    status text CONSTRAINT status_is_known CHECK (status IN ('enabled', 'grace', 'disabled')),
    limit_units bigint CONSTRAINT limits_are_bounded CHECK (limit_units BETWEEN 0 AND 1000000000000000),
    effective_at timestamptz NOT NULL,
    expires_at timestamptz CONSTRAINT overrides_expire_after_they_begin CHECK (expires_at > effective_at),
    source text NOT NULL CONSTRAINT sources_are_short CHECK (length(source) BETWEEN 1 AND 100),
    reason text NOT NULL CONSTRAINT reasons_are_short CHECK (length(reason) BETWEEN 1 AND 500),
    created_at timestamptz NOT NULL,
    updated_by_actor_id uuid NOT NULL,
    canceled_at timestamptz,
    CONSTRAINT features_have_a_status CHECK ((kind = 'feature') = (status IS NOT NULL)),
    CONSTRAINT quotas_alone_have_limits CHECK ((limit_units IS NOT NULL) <= (kind = 'quota')),
    CONSTRAINT recovery_passes CHECK ((kind = 'recovery') <= (expires_at IS NOT NULL)),
    PRIMARY KEY (workspace_id, override_id)
);
CREATE INDEX entitlement_overrides_by_key ON datalane.entitlement_overrides (workspace_id, kind, key, effective_at, override_id);
SELECT app.protect('datalane.entitlement_overrides', 'log', verbs => 'SELECT, INSERT, UPDATE', operator_columns =>
    '{workspace_id,override_id,kind,key,status,limit_units,effective_at,expires_at,source,created_at,updated_by_actor_id,canceled_at}');

-- Counts the changes of what a workspace may. Whoever keeps an answer keeps the version it is of, and asks again when that has moved.
CREATE TABLE datalane.entitlement_versions (
    workspace_id uuid NOT NULL,
    version bigint NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id)
);
SELECT app.protect('datalane.entitlement_versions', 'log', verbs => 'SELECT, INSERT, UPDATE',
                   operator_columns => '{workspace_id,version,changed_at}');

SET LOCAL ROLE datalane_definer;

-- The clock says what time it is, and the system where it says so (a backfill, a test): no caller moves the ends of its periods.
CREATE FUNCTION datalane.told_time(now timestamptz) RETURNS timestamptz LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    IF now IS NOT NULL THEN
        PERFORM datalane.require_rank(5);
    END IF;
    RETURN coalesce(now, clock_timestamp());
END $$;

-- What the operator says of a change goes into the audit log, so it is there, and short.
CREATE FUNCTION datalane.check_agreed(source text, reason text) RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    IF source IS NULL OR length(source) NOT BETWEEN 1 AND 100 OR reason IS NULL OR length(reason) NOT BETWEEN 1 AND 500 THEN
        RAISE EXCEPTION 'a change has a source of 1 to 100 and a reason of 1 to 500 characters' USING ERRCODE = 'DL400';
    END IF;
END $$;

-- The vendor's plans. Answers the version: a new one when it says something else than the newest, was retired, or is the default again: the
-- spans in which a version was the default stay as they were.
CREATE FUNCTION datalane.register_plan(plan_id text, features text[], quotas jsonb, is_default boolean DEFAULT false, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    newest record; sorted text[]; digest bytea; at constant timestamptz := coalesce(now, clock_timestamp()); number integer;
BEGIN
    PERFORM pg_advisory_xact_lock(38, 1);
    SELECT coalesce(array_agg(DISTINCT f ORDER BY f), '{}') INTO sorted FROM unnest(features) AS f;
    digest := sha256(convert_to(sorted::text || quotas::text, 'UTF8'));
    SELECT p.plan_version, p.content_sha256, p.retired_at, p.default_until INTO newest FROM datalane.plans p
    WHERE p.plan_id = plan_id ORDER BY p.plan_version DESC LIMIT 1;
    IF newest.retired_at IS NULL AND newest.content_sha256 = digest AND NOT (is_default AND newest.default_until IS NOT NULL) THEN
        number := newest.plan_version;
    ELSE
        number := coalesce(newest.plan_version, 0) + 1;
        INSERT INTO datalane.plans (plan_id, plan_version, features, content_sha256, registered_at)
        VALUES (plan_id, number, sorted, digest, at);
        INSERT INTO datalane.plan_quotas (plan_id, plan_version, quota_key, limit_units, in_window, seconds, time_zone, warn_at)
        SELECT plan_id, number, q.key, (q.value->>'limit')::bigint, q.value->>'window', (q.value->>'seconds')::integer, q.value->>'time_zone',
               ARRAY(SELECT w::integer FROM jsonb_array_elements_text(coalesce(q.value->'warn_at', '[]')) AS w ORDER BY w::integer)
        FROM jsonb_each(quotas) AS q (key, value) ORDER BY q.key;
    END IF;
    UPDATE datalane.plans p SET default_until = at
    WHERE p.default_from IS NOT NULL AND p.default_until IS NULL
      AND CASE WHEN is_default THEN (p.plan_id, p.plan_version) <> (plan_id, number) ELSE p.plan_id = plan_id END;
    UPDATE datalane.plans p SET default_from = at
    WHERE is_default AND p.plan_id = plan_id AND p.plan_version = number AND p.default_from IS NULL;
    RETURN number;
END $$;

-- Workspaces that have the plan keep it as it was; nobody is given it any more. Answers whether there was one.
CREATE FUNCTION datalane.retire_plan(plan_id text, now timestamptz DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
BEGIN
    PERFORM pg_advisory_xact_lock(38, 1);
    IF EXISTS (SELECT FROM datalane.plans p WHERE p.plan_id = plan_id AND p.default_from IS NOT NULL AND p.default_until IS NULL) THEN
        RAISE EXCEPTION 'the plan is the default of the lane; make another one that first' USING ERRCODE = 'DL409';
    END IF;
    UPDATE datalane.plans p SET retired_at = coalesce(now, clock_timestamp()) WHERE p.plan_id = plan_id AND p.retired_at IS NULL;
    RETURN FOUND;
END $$;

-- Whoever changes what a workspace may does so in turn, and moves its version.
CREATE FUNCTION datalane.move_entitlements(workspace uuid, at timestamptz) RETURNS void LANGUAGE sql SET search_path = '' AS $$
    INSERT INTO datalane.entitlement_versions AS v (workspace_id, version, changed_at) VALUES (workspace, 1, at)
    ON CONFLICT (workspace_id) DO UPDATE SET version = v.version + 1, changed_at = at
$$;

-- From `effective_at` on, or from now, the workspace of the context has this plan as its newest version says, until `expires_at` or the
-- next one. With `grace` its features stay on, with `disabled` nothing is. Answers the assignment.
CREATE FUNCTION datalane.assign_plan(
    plan_id text, status text DEFAULT 'enabled', effective_at timestamptz DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
    source text DEFAULT 'operator', reason text DEFAULT NULL, now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at constant timestamptz := coalesce(now, clock_timestamp());
    begins constant timestamptz := greatest(effective_at, at); number integer; assignment constant uuid := app.uuid7();
BEGIN
    PERFORM datalane.require_rank(5);
    SELECT max(p.plan_version) INTO number FROM datalane.plans p WHERE p.plan_id = plan_id AND p.retired_at IS NULL;
    IF number IS NULL THEN
        RAISE EXCEPTION 'there is no plan %, or it is retired', left(plan_id, 80) USING ERRCODE = 'DL404';
    ELSIF status IS NULL OR status NOT IN ('enabled', 'grace', 'disabled') THEN
        RAISE EXCEPTION 'a plan is enabled, grace or disabled, not %', left(status, 80) USING ERRCODE = 'DL400';
    ELSIF expires_at <= begins THEN
        RAISE EXCEPTION 'the plan would expire before it begins' USING ERRCODE = 'DL400';
    END IF;
    PERFORM datalane.check_agreed(source, coalesce(reason, source));
    PERFORM datalane.move_entitlements(workspace, at);
    INSERT INTO datalane.workspace_plans (workspace_id, assignment_id, plan_id, plan_version, status, effective_at, expires_at, source,
                                          reason, assigned_at, updated_by_actor_id)
    VALUES (workspace, assignment, plan_id, number, status, begins, expires_at, source, reason, at, app.actor_id());
    PERFORM datalane.audit_for(workspace, app.actor_id(), app.correlation_id(), 'plan.assigned', 'plan', plan_id, NULL, jsonb_build_object(
        'plan_version', number, 'status', status, 'effective_at', begins, 'expires_at', expires_at, 'source', source, 'reason', reason), at);
    RETURN assignment;
END $$;

-- Take back an assignment that is to begin later. Answers whether it was still to begin.
CREATE FUNCTION datalane.cancel_plan(assignment uuid, reason text, now timestamptz DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at constant timestamptz := coalesce(now, clock_timestamp()); plan text;
BEGIN
    PERFORM datalane.require_rank(5);
    PERFORM datalane.check_agreed('operator', reason);
    PERFORM datalane.move_entitlements(workspace, at);
    UPDATE datalane.workspace_plans w SET canceled_at = at
    WHERE w.workspace_id = workspace AND w.assignment_id = assignment AND w.canceled_at IS NULL AND w.effective_at > at
    RETURNING w.plan_id INTO plan;
    IF plan IS NULL AND NOT EXISTS (SELECT FROM datalane.workspace_plans w WHERE w.workspace_id = workspace AND w.assignment_id = assignment) THEN
        RAISE EXCEPTION 'no such assignment of a plan' USING ERRCODE = 'DL404';
    ELSIF plan IS NOT NULL THEN
        PERFORM datalane.audit_for(workspace, app.actor_id(), app.correlation_id(), 'plan.canceled', 'plan', plan, NULL,
                                   jsonb_build_object('assignment_id', assignment, 'reason', reason), at);
    END IF;
    RETURN plan IS NOT NULL;
END $$;

-- Beside the plan, from `effective_at` or now until `expires_at`: a feature with a status, a quota with a limit (null: none), or for a
-- quota recovery, in which its limit is lifted. Answers the override.
CREATE FUNCTION datalane.override_entitlement(
    kind text, key text, reason text, status text DEFAULT NULL, limit_units bigint DEFAULT NULL, effective_at timestamptz DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL, source text DEFAULT 'operator', now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at constant timestamptz := coalesce(now, clock_timestamp());
    begins constant timestamptz := greatest(effective_at, at); override constant uuid := app.uuid7();
BEGIN
    PERFORM datalane.require_rank(5);
    IF expires_at <= begins THEN
        RAISE EXCEPTION 'the override would expire before it begins' USING ERRCODE = 'DL400';
    ELSIF kind = 'recovery' AND (expires_at IS NULL OR expires_at > begins + interval '7 days') THEN
        RAISE EXCEPTION 'recovery lasts seven days at most' USING ERRCODE = 'DL400';
    ELSIF kind IS NULL OR kind NOT IN ('feature', 'quota', 'recovery') THEN
        RAISE EXCEPTION 'an override is of a feature or a quota, or recovery, not %', left(kind, 80) USING ERRCODE = 'DL400';
    ELSIF key IS NULL OR key !~ '^[a-z][a-z0-9_.-]{0,63}$' THEN
        RAISE EXCEPTION 'a key is written like this: reports.export' USING ERRCODE = 'DL400';
    ELSIF (kind = 'feature') <> (status IS NOT NULL) OR status NOT IN ('enabled', 'grace', 'disabled') THEN
        RAISE EXCEPTION 'a feature has a status, enabled, grace or disabled, and nothing else has' USING ERRCODE = 'DL400';
    ELSIF limit_units IS NOT NULL AND (kind <> 'quota' OR limit_units NOT BETWEEN 0 AND 1000000000000000) THEN
        RAISE EXCEPTION 'a quota has a limit of 0 to 10^15 units, and nothing else has' USING ERRCODE = 'DL400';
    ELSIF kind <> 'feature' AND NOT EXISTS (SELECT FROM datalane.plan_quotas q WHERE q.quota_key = key) THEN
        RAISE EXCEPTION 'no plan has a quota %: its window comes from a plan', key USING ERRCODE = 'DL404';
    END IF;
    PERFORM datalane.check_agreed(source, reason);
    PERFORM datalane.move_entitlements(workspace, at);
    INSERT INTO datalane.entitlement_overrides (workspace_id, override_id, kind, key, status, limit_units, effective_at, expires_at, source,
                                                reason, created_at, updated_by_actor_id)
    VALUES (workspace, override, kind, key, status, limit_units, begins, expires_at, source, reason, at, app.actor_id());
    PERFORM datalane.audit_for(workspace, app.actor_id(), app.correlation_id(), 'entitlement.overridden', kind, key, NULL, jsonb_build_object(
        'override_id', override, 'status', status, 'limit_units', limit_units, 'effective_at', begins, 'expires_at', expires_at,
        'source', source, 'reason', reason), at);
    RETURN override;
END $$;

-- End an override, or take it back before it begins. Answers whether it held or was to hold.
CREATE FUNCTION datalane.end_override(override uuid, reason text, now timestamptz DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at constant timestamptz := coalesce(now, clock_timestamp()); ended record;
BEGIN
    PERFORM datalane.require_rank(5);
    PERFORM datalane.check_agreed('operator', reason);
    PERFORM datalane.move_entitlements(workspace, at);
    UPDATE datalane.entitlement_overrides o
    SET expires_at = CASE WHEN o.effective_at < at THEN at ELSE o.expires_at END, canceled_at = CASE WHEN o.effective_at >= at THEN at END
    WHERE o.workspace_id = workspace AND o.override_id = override AND o.canceled_at IS NULL AND coalesce(o.expires_at, 'infinity') > at
    RETURNING o.kind, o.key INTO ended;
    IF NOT FOUND THEN
        PERFORM FROM datalane.entitlement_overrides o WHERE o.workspace_id = workspace AND o.override_id = override;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no such override' USING ERRCODE = 'DL404';
        END IF;
        RETURN false;
    END IF;
    PERFORM datalane.audit_for(workspace, app.actor_id(), app.correlation_id(), 'entitlement.override_ended', ended.kind, ended.key, NULL,
                               jsonb_build_object('override_id', override, 'reason', reason), at);
    RETURN true;
END $$;

-- The plan that is enforced at a moment, not granted to anyone: the last one that began by then, unless it has expired; else the
-- default of the lane at that moment; else the expired one, disabled. `ends_at` is when that may be otherwise.
CREATE FUNCTION datalane.plan_in(workspace uuid, at timestamptz)
RETURNS TABLE (plan_id text, plan_version integer, status text, effective_at timestamptz, expires_at timestamptz, source text, ends_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    upcoming timestamptz; held record;
BEGIN
    SELECT w.effective_at INTO upcoming FROM datalane.workspace_plans w
    WHERE w.workspace_id = workspace AND w.effective_at > at AND w.canceled_at IS NULL ORDER BY w.effective_at LIMIT 1;
    SELECT w.plan_id, w.plan_version, w.status, w.effective_at, w.expires_at, w.source INTO held FROM datalane.workspace_plans w
    WHERE w.workspace_id = workspace AND w.effective_at <= at AND w.canceled_at IS NULL
    ORDER BY w.effective_at DESC, w.assignment_id DESC LIMIT 1;
    IF FOUND AND coalesce(held.expires_at, 'infinity') > at THEN
        RETURN QUERY SELECT held.plan_id, held.plan_version, held.status, held.effective_at, held.expires_at, held.source,
                            least(held.expires_at, upcoming);
        RETURN;
    END IF;
    RETURN QUERY
        SELECT p.plan_id, p.plan_version, 'enabled', p.default_from, NULL::timestamptz, 'default', least(p.default_until, upcoming)
        FROM datalane.plans p WHERE p.default_from <= at AND coalesce(p.default_until, 'infinity') > at
        ORDER BY p.default_from DESC LIMIT 1;
    IF NOT FOUND AND held.status <> 'disabled' THEN
        -- An expired plan opens nothing: what it sold is closed, not free. One that was closed for a time is none any more.
        RETURN QUERY SELECT held.plan_id, held.plan_version, 'disabled', held.expires_at, NULL::timestamptz, 'expired', least(upcoming, (
            SELECT min(p.default_from) FROM datalane.plans p WHERE p.default_from > at));
    END IF;
END $$;

-- What is, was or will be enforced at a moment in the workspace of the context; no row where there is no plan.
CREATE FUNCTION datalane.plan_at(at timestamptz)
RETURNS TABLE (plan_id text, plan_version integer, status text, effective_at timestamptz, expires_at timestamptz, source text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    PERFORM datalane.require_rank(1);
    RETURN QUERY SELECT p.plan_id, p.plan_version, p.status, p.effective_at, p.expires_at, p.source
    FROM datalane.plan_in(app.workspace_id(), at) AS p;
END $$;

-- What was enforced between two moments, piece by piece in the order of time and without a hole, with the features that were on: where no
-- plan held its fields are null, and features may be on by an override.
CREATE FUNCTION datalane.plan_timeline(since timestamptz, until timestamptz)
RETURNS TABLE (starts_at timestamptz, ends_at timestamptz, plan_id text, plan_version integer, status text, features jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    workspace constant uuid := app.workspace_id();
BEGIN
    PERFORM datalane.require_rank(1);
    RETURN QUERY
        WITH edges AS (
            SELECT since AS at
            UNION SELECT e.at FROM datalane.workspace_plans w CROSS JOIN LATERAL (VALUES (w.effective_at), (w.expires_at)) AS e (at)
                  WHERE w.workspace_id = workspace AND w.canceled_at IS NULL AND e.at > since AND e.at < until
            UNION SELECT e.at FROM datalane.plans d CROSS JOIN LATERAL (VALUES (d.default_from), (d.default_until)) AS e (at)
                  WHERE e.at > since AND e.at < until
            UNION SELECT e.at FROM datalane.entitlement_overrides o CROSS JOIN LATERAL (VALUES (o.effective_at), (o.expires_at)) AS e (at)
                  WHERE o.workspace_id = workspace AND o.kind = 'feature' AND o.canceled_at IS NULL AND e.at > since AND e.at < until
        ), spans AS (
            SELECT g.at AS starts_at, lead(g.at, 1, until) OVER (ORDER BY g.at) AS ends_at FROM edges g
        )
        SELECT s.starts_at, s.ends_at, p.plan_id, p.plan_version, p.status, datalane.features_in(workspace, s.starts_at)
        FROM spans s LEFT JOIN LATERAL datalane.plan_in(workspace, s.starts_at) AS p ON true ORDER BY s.starts_at;
END $$;

-- Every feature that the plan or an override names at a moment, not granted to anyone; of a plan that is disabled none is on. `expires_at`
-- is when it may be otherwise.
CREATE FUNCTION datalane.entitlements_in(workspace uuid, at timestamptz, only_key text DEFAULT NULL)
RETURNS TABLE (feature_key text, entitlement_status text, plan_id text, plan_version integer, effective_at timestamptz, expires_at timestamptz,
               override_id uuid, override_source text, updated_by_actor_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    WITH plan AS MATERIALIZED (
        SELECT p.plan_id, p.plan_version, p.status, p.effective_at, p.ends_at FROM datalane.plan_in(workspace, at) AS p
    ), planned AS (
        SELECT f.key, p.status, p.effective_at, p.ends_at
        FROM plan p JOIN datalane.plans d ON d.plan_id = p.plan_id AND d.plan_version = p.plan_version
        CROSS JOIN LATERAL unnest(d.features) AS f (key) WHERE only_key IS NULL OR f.key = only_key
    ), beside AS (
        SELECT DISTINCT ON (o.key) o.key, o.status, o.effective_at, o.expires_at, o.override_id, o.source, o.updated_by_actor_id
        FROM datalane.entitlement_overrides o
        WHERE o.workspace_id = workspace AND o.kind = 'feature' AND (only_key IS NULL OR o.key = only_key)
          AND o.effective_at <= at AND coalesce(o.expires_at, 'infinity') > at AND o.canceled_at IS NULL
        ORDER BY o.key, o.effective_at DESC, o.override_id DESC
    )
    SELECT coalesce(b.key, n.key), CASE WHEN (SELECT p.status FROM plan p) = 'disabled' THEN 'disabled' ELSE coalesce(b.status, n.status) END,
           (SELECT p.plan_id FROM plan p), (SELECT p.plan_version FROM plan p), coalesce(b.effective_at, n.effective_at),
           least(CASE WHEN b.key IS NULL THEN n.ends_at ELSE b.expires_at END, (
               SELECT min(u.effective_at) FROM datalane.entitlement_overrides u
               WHERE u.workspace_id = workspace AND u.kind = 'feature' AND u.key = coalesce(b.key, n.key) AND u.effective_at > at
                 AND u.canceled_at IS NULL)),
           b.override_id, b.source, b.updated_by_actor_id
    FROM planned n FULL JOIN beside b ON b.key = n.key ORDER BY 1
$$;

CREATE FUNCTION datalane.features_in(workspace uuid, at timestamptz) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(e.feature_key ORDER BY e.feature_key COLLATE "C") FILTER (WHERE e.entitlement_status <> 'disabled'), '[]')
    FROM datalane.entitlements_in(workspace, at) AS e
$$;

-- What the workspace of the context may at a moment, by feature: those that its plan or an override names, or only this one.
CREATE FUNCTION datalane.entitlements_at(at timestamptz, only_key text DEFAULT NULL)
RETURNS TABLE (feature_key text, entitlement_status text, plan_id text, plan_version integer, effective_at timestamptz, expires_at timestamptz,
               override_id uuid, override_source text, updated_by_actor_id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    PERFORM datalane.require_rank(1);
    RETURN QUERY SELECT e.feature_key, e.entitlement_status, e.plan_id, e.plan_version, e.effective_at, e.expires_at, e.override_id,
                        e.override_source, e.updated_by_actor_id
    FROM datalane.entitlements_in(app.workspace_id(), at, only_key) AS e;
END $$;

-- The quotas of a workspace at a moment, not granted to anyone: those that the plan names, with the limit that an override or recovery
-- leaves of it. A plan that is disabled allows nothing. `holds_until` is when it may be otherwise; the default plan of the lane is looked
-- at again within a minute, as nobody tells the workspaces that there is another.
CREATE FUNCTION datalane.quotas_in(workspace uuid, at timestamptz, only_key text DEFAULT NULL)
RETURNS TABLE (quota_key text, limit_units bigint, in_window text, seconds integer, time_zone text, warn_at integer[], plan_id text,
               plan_version integer, override_source text, recovering boolean, holds_until timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    WITH plan AS MATERIALIZED (
        SELECT p.plan_id, p.plan_version, p.status,
               CASE WHEN p.source = 'default' THEN least(p.ends_at, at + interval '1 minute') ELSE p.ends_at END AS ends_at
        FROM datalane.plan_in(workspace, at) AS p
    ), planned AS (
        SELECT p.plan_id, p.plan_version, p.status, p.ends_at, q.quota_key AS key, q.limit_units, q.in_window, q.seconds, q.time_zone, q.warn_at
        FROM plan p JOIN datalane.plan_quotas q ON q.plan_id = p.plan_id AND q.plan_version = p.plan_version
        WHERE only_key IS NULL OR q.quota_key = only_key
    )
    SELECT n.key, CASE WHEN r.expires_at IS NOT NULL THEN NULL WHEN n.status = 'disabled' THEN 0
                       WHEN o.override_id IS NOT NULL THEN o.limit_units ELSE n.limit_units END,
           n.in_window, n.seconds, coalesce(n.time_zone, 'UTC'), n.warn_at, n.plan_id, n.plan_version, coalesce(r.source, o.source), r.expires_at IS NOT NULL,
           least(n.ends_at, r.expires_at, o.expires_at, (
               SELECT min(u.effective_at) FROM datalane.entitlement_overrides u
               WHERE u.workspace_id = workspace AND u.kind IN ('quota', 'recovery') AND u.key = n.key AND u.effective_at > at AND u.canceled_at IS NULL))
    FROM planned n
    LEFT JOIN LATERAL (
        SELECT v.expires_at, v.source FROM datalane.entitlement_overrides v
        WHERE v.workspace_id = workspace AND v.kind = 'recovery' AND v.key = n.key AND v.effective_at <= at AND v.expires_at > at
          AND v.canceled_at IS NULL ORDER BY v.expires_at DESC LIMIT 1
    ) AS r ON true
    LEFT JOIN LATERAL (
        SELECT v.override_id, v.limit_units, v.expires_at, v.source FROM datalane.entitlement_overrides v
        WHERE v.workspace_id = workspace AND v.kind = 'quota' AND v.key = n.key AND v.effective_at <= at
          AND coalesce(v.expires_at, 'infinity') > at AND v.canceled_at IS NULL ORDER BY v.effective_at DESC, v.override_id DESC LIMIT 1
    ) AS o ON true ORDER BY n.key
$$;

REVOKE ALL ON FUNCTION
    datalane.told_time(timestamptz), datalane.check_agreed(text, text),
    datalane.register_plan(text, text[], jsonb, boolean, timestamptz), datalane.retire_plan(text, timestamptz),
    datalane.move_entitlements(uuid, timestamptz),
    datalane.assign_plan(text, text, timestamptz, timestamptz, text, text, timestamptz), datalane.cancel_plan(uuid, text, timestamptz),
    datalane.override_entitlement(text, text, text, text, bigint, timestamptz, timestamptz, text, timestamptz),
    datalane.end_override(uuid, text, timestamptz),
    datalane.plan_in(uuid, timestamptz), datalane.plan_at(timestamptz), datalane.plan_timeline(timestamptz, timestamptz),
    datalane.entitlements_in(uuid, timestamptz, text), datalane.features_in(uuid, timestamptz),
    datalane.entitlements_at(timestamptz, text), datalane.quotas_in(uuid, timestamptz, text)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    datalane.register_plan(text, text[], jsonb, boolean, timestamptz), datalane.retire_plan(text, timestamptz)
    TO datalane_worker;
GRANT EXECUTE ON FUNCTION
    datalane.assign_plan(text, text, timestamptz, timestamptz, text, text, timestamptz), datalane.cancel_plan(uuid, text, timestamptz),
    datalane.override_entitlement(text, text, text, text, bigint, timestamptz, timestamptz, text, timestamptz),
    datalane.end_override(uuid, text, timestamptz),
    datalane.plan_at(timestamptz), datalane.plan_timeline(timestamptz, timestamptz), datalane.entitlements_at(timestamptz, text)
    TO datalane_app;

SET LOCAL ROLE datalane_owner;
