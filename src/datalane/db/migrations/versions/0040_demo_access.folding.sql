-- What signals come to: a fold over them in one order. The same decisions stand in Python (access/lifecycle/folding.py), by which the
-- reconciling checks what stands here.
SET LOCAL ROLE datalane_definer;

-- The transition table: what each signal does in each state. No target: it is ignored, and `reason` says why.
CREATE FUNCTION datalane.access_rule(state text, signal text, OUT target text, OUT reason text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT r.target, r.reason FROM (VALUES
        ('pending', 'activate', 'active', NULL),
        ('pending', 'renew', NULL, 'it was never activated'),
        ('pending', 'suspend', NULL, 'it was never activated'),
        ('pending', 'resume', NULL, 'it was never activated'),
        ('pending', 'end', NULL, 'it was never activated'),
        ('pending', 'grace_over', NULL, 'it was never activated'),
        ('pending', 'deactivate', 'deactivated', NULL),
        ('pending', 'reactivate', NULL, 'it is not deactivated'),
        ('active', 'activate', 'active', NULL),
        ('active', 'renew', 'active', NULL),
        ('active', 'suspend', 'suspended', NULL),
        ('active', 'resume', NULL, 'it is not suspended'),
        ('active', 'end', 'grace', NULL),
        ('active', 'grace_over', NULL, 'it is not in grace'),
        ('active', 'deactivate', 'deactivated', NULL),
        ('active', 'reactivate', NULL, 'it is not deactivated'),
        ('grace', 'activate', 'active', NULL),
        ('grace', 'renew', 'active', NULL),
        ('grace', 'suspend', 'suspended', NULL),
        ('grace', 'resume', NULL, 'it is not suspended'),
        ('grace', 'end', NULL, 'its period has ended'),
        ('grace', 'grace_over', 'expired', NULL),
        ('grace', 'deactivate', 'deactivated', NULL),
        ('grace', 'reactivate', NULL, 'it is not deactivated'),
        ('suspended', 'activate', 'suspended', NULL),
        ('suspended', 'renew', 'suspended', NULL),
        ('suspended', 'suspend', NULL, 'it is suspended'),
        ('suspended', 'resume', 'active', NULL),
        ('suspended', 'end', 'expired', NULL),
        ('suspended', 'grace_over', 'expired', NULL),
        ('suspended', 'deactivate', 'deactivated', NULL),
        ('suspended', 'reactivate', NULL, 'it is not deactivated'),
        ('expired', 'activate', 'active', NULL),
        ('expired', 'renew', 'active', NULL),
        ('expired', 'suspend', NULL, 'it has expired'),
        ('expired', 'resume', NULL, 'it has expired'),
        ('expired', 'end', NULL, 'it has expired'),
        ('expired', 'grace_over', NULL, 'it has expired'),
        ('expired', 'deactivate', 'deactivated', NULL),
        ('expired', 'reactivate', NULL, 'it is not deactivated'),
        ('deactivated', 'activate', NULL, 'it is deactivated; reactivate brings it back'),
        ('deactivated', 'renew', NULL, 'it is deactivated; reactivate brings it back'),
        ('deactivated', 'suspend', NULL, 'it is deactivated'),
        ('deactivated', 'resume', NULL, 'it is deactivated; reactivate brings it back'),
        ('deactivated', 'end', NULL, 'it is deactivated'),
        ('deactivated', 'grace_over', NULL, 'it is deactivated'),
        ('deactivated', 'deactivate', NULL, 'it is deactivated'),
        ('deactivated', 'reactivate', 'active', NULL)
    ) AS r (state, signal, target, reason)
    WHERE r.state = access_rule.state AND r.signal = access_rule.signal
$$;

-- What a state that is come to at a moment is, given the period: active past the end is grace, and grace that is over is expired.
CREATE FUNCTION datalane.access_fall(state text, ends_at timestamptz, grace_seconds bigint, at timestamptz)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE
        WHEN state NOT IN ('active', 'grace', 'suspended') OR ends_at IS NULL OR ends_at > at THEN state
        WHEN ends_at + make_interval(secs => grace_seconds) <= at THEN 'expired'
        WHEN state = 'active' THEN 'grace'
        ELSE state END;

-- When time alone changes it next; null is never.
CREATE FUNCTION datalane.access_deadline(state text, ends_at timestamptz, grace_seconds bigint)
RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE state
        WHEN 'active' THEN ends_at
        WHEN 'grace' THEN ends_at + make_interval(secs => grace_seconds)
        WHEN 'suspended' THEN ends_at + make_interval(secs => grace_seconds) END;

-- The signals that have a place, in their order. The moment of one that has a version is the latest that its source had named up to
-- that version, so that versions order within a source and time across sources, and both agree.
CREATE FUNCTION datalane.access_signals_in_order(workspace uuid)
RETURNS TABLE (source_system text, source_event_id text, signal text, state text, plan_id text, source_version bigint,
               ends_at timestamptz, grace_seconds bigint, moment timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT p.source_system, p.source_event_id, p.signal, p.state, p.plan_id, p.source_version, p.ends_at, p.grace_seconds, p.moment
    FROM (
        SELECT s.source_system, s.source_event_id, s.signal, s.state, s.plan_id, s.source_version, s.ends_at, s.grace_seconds,
               s.occurred_at,
               CASE WHEN s.source_version IS NULL THEN s.occurred_at
                    ELSE max(s.occurred_at) OVER (PARTITION BY s.source_system, s.source_version IS NULL ORDER BY s.source_version) END
               AS moment
        FROM datalane.access_signals s WHERE s.workspace_id = workspace AND s.held IS NULL
    ) AS p
    ORDER BY p.moment, p.signal = 'correct', p.source_system COLLATE "C", coalesce(p.source_version, -1), p.occurred_at,
             p.source_event_id COLLATE "C"
$$;

-- The fold: where the access is at `at`, each change on the way, and what each signal came to. `named_plan_id` is the last plan that any
-- signal named, also one that is ignored. Time is a signal too: what ends between two of them, or since the last, has ended. And a signal is
-- none before its time: those whose moment is later than `at` are ahead, the first of them at `ahead_at`.
CREATE FUNCTION datalane.fold_demo_access(
    workspace uuid, at timestamptz, OUT state text, OUT plan_id text, OUT since timestamptz, OUT ends_at timestamptz,
    OUT grace_seconds bigint, OUT source_system text, OUT source_event_id text, OUT source_version bigint,
    OUT named_plan_id text, OUT steps jsonb[], OUT outcomes jsonb[], OUT ahead_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    told record; before record; target text; reason text; ended timestamptz; more boolean := true; is_left boolean;
    next_state text; next_ends timestamptz; next_grace bigint;
    signals CURSOR FOR SELECT o.source_system, o.source_event_id, o.signal, o.state, o.plan_id, o.source_version, o.ends_at,
        o.grace_seconds, o.moment FROM datalane.access_signals_in_order(workspace) AS o;
BEGIN
    state := 'pending'; grace_seconds := 0; steps := '{}'; outcomes := '{}';
    OPEN signals;
    WHILE more LOOP
        FETCH signals INTO told;
        is_left := FOUND;
        more := is_left AND told.moment <= at;
        LOOP
            ended := datalane.access_deadline(state, ends_at, grace_seconds);
            EXIT WHEN ended IS NULL OR (more AND ended >= told.moment) OR (NOT more AND ended > at);
            target := CASE WHEN state = 'active' THEN datalane.access_fall('grace', ends_at, grace_seconds, ended) ELSE 'expired' END;
            steps := steps || jsonb_build_object('from', state, 'to', target, 'plan', plan_id, 'ends', ends_at, 'grace', grace_seconds,
                'why', CASE WHEN state = 'active' THEN 'period_ended' ELSE 'grace_ended' END, 'at', ended);
            state := target; since := ended;
        END LOOP;
        CONTINUE WHEN NOT more;
        IF told.signal = 'correct' THEN
            target := told.state;
        ELSE
            SELECT r.target, r.reason INTO target, reason FROM datalane.access_rule(state, told.signal) AS r;
        END IF;
        named_plan_id := coalesce(told.plan_id, named_plan_id);
        next_ends := CASE
            WHEN told.signal = 'activate' OR told.signal = 'correct' AND target IN ('active', 'suspended') THEN told.ends_at
            WHEN told.signal = 'end' OR told.signal = 'correct' AND target = 'grace' THEN told.moment
            WHEN target = 'pending' THEN NULL
            ELSE coalesce(told.ends_at, ends_at) END;
        next_grace := coalesce(told.grace_seconds, CASE WHEN told.signal = 'activate' THEN 0 ELSE grace_seconds END);
        next_state := datalane.access_fall(target, next_ends, next_grace, told.moment);
        IF next_state IN ('active', 'grace') AND plan_id IS NULL AND told.plan_id IS NULL THEN
            target := NULL; reason := 'no plan is known';
        END IF;
        outcomes := outcomes || jsonb_build_object('system', told.source_system, 'id', told.source_event_id,
            'outcome', CASE WHEN target IS NULL THEN 'ignored' ELSE 'applied' END, 'reason', CASE WHEN target IS NULL THEN reason END);
        CONTINUE WHEN target IS NULL;
        SELECT state AS state, plan_id AS plan_id, ends_at AS ends_at, grace_seconds AS grace_seconds INTO before;
        state := next_state; plan_id := coalesce(told.plan_id, plan_id); ends_at := next_ends; grace_seconds := next_grace;
        source_system := told.source_system; source_event_id := told.source_event_id; source_version := told.source_version;
        CONTINUE WHEN (before.state, before.plan_id, before.ends_at, before.grace_seconds)
            IS NOT DISTINCT FROM (state, plan_id, ends_at, grace_seconds);
        IF before.state <> state OR since IS NULL THEN
            since := told.moment;
        END IF;
        steps := steps || jsonb_build_object('from', before.state, 'to', state, 'plan', plan_id, 'ends', ends_at, 'grace', grace_seconds,
            'why', told.signal, 'system', source_system, 'id', source_event_id, 'at', told.moment);
    END LOOP;
    ahead_at := CASE WHEN is_left THEN told.moment END;
    WHILE is_left LOOP
        outcomes := outcomes || jsonb_build_object('system', told.source_system, 'id', told.source_event_id,
            'outcome', 'ahead', 'reason', 'its time has not come');
        FETCH signals INTO told;
        is_left := FOUND;
    END LOOP;
    CLOSE signals;
END $$;
SET LOCAL ROLE datalane_owner;
