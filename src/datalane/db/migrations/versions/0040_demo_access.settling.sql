-- The verbs of demo access. Whoever changes it holds the workspace's row, folds all that was told, and writes down what that comes to
-- with all that follows: the plan, the history, one event and one audit record.
SET LOCAL ROLE datalane_definer;

-- Write the history down: what was there stays, though its place may be another one; what is not true any more is superseded. How many
-- steps there are the planner does not see: it would compare each with each.
CREATE FUNCTION datalane.write_access_history(workspace uuid, steps jsonb[], actor uuid, correlation text, recorded timestamptz)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' SET enable_nestloop = off AS $$
    WITH told AS MATERIALIZED (
        SELECT s.place, s.step ->> 'from' AS from_state, s.step ->> 'to' AS to_state, s.step ->> 'plan' AS plan_id,
               (s.step ->> 'ends')::timestamptz AS ends_at, (s.step ->> 'grace')::bigint AS grace_seconds, s.step ->> 'why' AS why,
               s.step ->> 'system' AS source_system, s.step ->> 'id' AS source_event_id, (s.step ->> 'at')::timestamptz AS at
        FROM unnest(steps) WITH ORDINALITY AS s (step, place)
    ), known AS MATERIALIZED (
        SELECT h.history_id, h.ordinal, t.place
        FROM datalane.access_history h
        LEFT JOIN told t ON t.at = h.at AND t.why = h.why
            AND (t.from_state, t.to_state, t.plan_id, t.ends_at, t.grace_seconds, t.source_system, t.source_event_id)
                IS NOT DISTINCT FROM (h.from_state, h.to_state, h.plan_id, h.ends_at, h.grace_seconds, h.source_system, h.source_event_id)
        WHERE h.workspace_id = workspace AND h.superseded_at IS NULL
    ), moved AS (
        UPDATE datalane.access_history h
        SET ordinal = coalesce(k.place, h.ordinal), superseded_at = CASE WHEN k.place IS NULL THEN recorded END
        FROM known k
        WHERE h.workspace_id = workspace AND h.history_id = k.history_id AND k.place IS DISTINCT FROM k.ordinal
    )
    INSERT INTO datalane.access_history (workspace_id, history_id, ordinal, from_state, to_state, plan_id, ends_at, grace_seconds, why,
                                         source_system, source_event_id, at, recorded_at, correlation_id, actor_id)
    SELECT workspace, app.uuid7(), t.place, t.from_state, t.to_state, t.plan_id, t.ends_at, t.grace_seconds, t.why, t.source_system,
           t.source_event_id, t.at, recorded, correlation, actor
    FROM told t WHERE NOT EXISTS (SELECT FROM known k WHERE k.place = t.place) ORDER BY t.place
$$;

-- One event and one audit record of a change. Past the limit of causation the event is told to handlers alone.
CREATE FUNCTION datalane.tell_of_access(
    workspace uuid, before datalane.demo_access, why text, actor uuid, correlation text, causation uuid, depth integer, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    now_is datalane.demo_access; told jsonb; was_usable constant boolean := before.state IN ('active', 'grace');
BEGIN
    SELECT a.* INTO now_is FROM datalane.demo_access a WHERE a.workspace_id = workspace;
    told := jsonb_build_object(
        'from', before.state, 'to', now_is.state, 'plan_id', now_is.plan_id, 'ends_at', now_is.ends_at,
        'grace_ends_at', now_is.ends_at + make_interval(secs => now_is.grace_seconds), 'why', why, 'version', now_is.version,
        'source_system', now_is.source_system, 'source_event_id', now_is.source_event_id);
    PERFORM datalane.publish_for(
        workspace, actor, correlation,
        'access.' || CASE WHEN was_usable = (now_is.state IN ('active', 'grace')) THEN 'changed' WHEN was_usable THEN 'deactivated'
                          ELSE 'activated' END,
        told, workspace::text, causation, depth, at);
    PERFORM datalane.audit_for(
        workspace, actor, correlation, 'demo_access.changed', 'demo_access', workspace::text,
        jsonb_build_object('state', before.state, 'plan_id', before.plan_id, 'ends_at', before.ends_at),
        told, at);
END $$;

-- The first of these plans that can be assigned. One that is retired can be to who has had it.
CREATE FUNCTION datalane.pick_access_plan(workspace uuid, candidates text[])
RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT c.plan FROM unnest(candidates) WITH ORDINALITY AS c (plan, place)
    WHERE EXISTS (SELECT FROM datalane.plans p WHERE p.plan_id = c.plan AND p.retired_at IS NULL)
       OR EXISTS (SELECT FROM datalane.workspace_plans w WHERE w.workspace_id = workspace AND w.plan_id = c.plan)
    ORDER BY c.place LIMIT 1
$$;

-- What was given until a moment is closed from then on, whether somebody settles by then or not.
CREATE FUNCTION datalane.close_access_plan(workspace uuid, plan text, number integer, standing text, until timestamptz, at timestamptz)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    INSERT INTO datalane.workspace_plans (workspace_id, assignment_id, plan_id, plan_version, status, effective_at, source, reason, assigned_at,
                                          updated_by_actor_id)
    SELECT workspace, app.uuid7(), plan, number, 'disabled', until, 'demo_access', 'demo access: its time is over', at, app.actor_id()
    WHERE until IS NOT NULL AND standing IN ('enabled', 'grace')
$$;

-- Assign the plan from now on. What was assigned for later, by a clock that was ahead, does not come. A plan that is retired is renewed,
-- graced and taken away in the version that was assigned.
CREATE FUNCTION datalane.assign_access_plan(workspace uuid, plan text, standing text, until timestamptz, why text, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    number integer; said constant text := 'demo access: ' || why;
BEGIN
    UPDATE datalane.workspace_plans w SET canceled_at = assign_access_plan.at
    WHERE w.workspace_id = workspace AND w.source = 'demo_access' AND w.effective_at >= assign_access_plan.at AND w.canceled_at IS NULL;
    SELECT w.plan_version INTO number FROM datalane.workspace_plans w
    WHERE w.workspace_id = workspace AND w.plan_id = plan ORDER BY w.assignment_id DESC LIMIT 1;
    IF number IS NULL OR standing = 'enabled' AND EXISTS (SELECT FROM datalane.plans p WHERE p.plan_id = plan AND p.retired_at IS NULL) THEN
        PERFORM datalane.assign_plan(plan, standing, at, until, 'demo_access', said, at);
        SELECT max(p.plan_version) INTO number FROM datalane.plans p WHERE p.plan_id = plan AND p.retired_at IS NULL;
        PERFORM datalane.close_access_plan(workspace, plan, number, standing, until, at);
        RETURN;
    END IF;
    PERFORM datalane.move_entitlements(workspace, at);
    INSERT INTO datalane.workspace_plans (workspace_id, assignment_id, plan_id, plan_version, status, effective_at, expires_at, source,
                                          reason, assigned_at, updated_by_actor_id)
    VALUES (workspace, app.uuid7(), plan, number, standing, at, until, 'demo_access', said, at, app.actor_id());
    PERFORM datalane.audit_for(workspace, app.actor_id(), app.correlation_id(), 'plan.assigned', 'plan', plan, NULL, jsonb_build_object(
        'plan_version', number, 'status', standing, 'effective_at', at, 'expires_at', until, 'source', 'demo_access', 'reason', said), at);
    PERFORM datalane.close_access_plan(workspace, plan, number, standing, until, at);
END $$;

-- Let the plan be what the access comes to: enabled or in grace until the end of the grace, disabled, or none while it is pending, which
-- leaves the workspace to the lane's default. Where it cannot be, that is kept as `sync_error`, and what was assigned stays. What is disabled
-- is a plan of the history that holds, else one that others had assigned by then, else the default: never what an order of signals led to
-- that does not hold any more. Where there is none of them, there is none to disable; reconciling tells of one that comes later.
CREATE FUNCTION datalane.settle_access_plan(
    workspace uuid, before datalane.demo_access, state text, since timestamptz, plans text[], until timestamptz, why text, reassign boolean,
    at timestamptz)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    standing text := CASE state WHEN 'active' THEN 'enabled' WHEN 'grace' THEN 'grace' WHEN 'pending' THEN 'none' ELSE 'disabled' END;
    is_on constant boolean := standing IN ('enabled', 'grace');
    plan text := CASE
        WHEN is_on THEN datalane.pick_access_plan(workspace, plans[1:1])
        WHEN standing = 'disabled' THEN datalane.pick_access_plan(workspace, plans || ARRAY(
            SELECT w.plan_id FROM datalane.workspace_plans w
            WHERE w.workspace_id = workspace AND w.source <> 'demo_access' AND w.effective_at <= least(since, at) AND w.canceled_at IS NULL
            ORDER BY w.effective_at DESC, w.assignment_id DESC LIMIT 1) || (
            SELECT array_agg(d.plan_id) FROM datalane.plans d WHERE d.default_from <= at AND coalesce(d.default_until, 'infinity') > at)) END;
BEGIN
    IF plan IS NULL AND is_on THEN
        RETURN format('there is no plan %s, or it is retired', plans[1]);
    ELSIF plan IS NULL THEN
        plan := before.assigned_plan_id; standing := 'none';
    END IF;
    IF plan IS NOT NULL AND (reassign OR (plan, standing, CASE WHEN is_on THEN until END)
            IS DISTINCT FROM (before.assigned_plan_id, before.assigned_status, before.assigned_until)) THEN
        PERFORM datalane.assign_access_plan(
            workspace, plan, CASE WHEN is_on THEN standing ELSE 'disabled' END,
            CASE WHEN is_on THEN until WHEN standing = 'none' THEN at + interval '1 microsecond' END, why, at);
        UPDATE datalane.demo_access a
        SET assigned_plan_id = CASE WHEN standing <> 'none' THEN plan END, assigned_status = nullif(standing, 'none'),
            assigned_until = CASE WHEN is_on THEN until END
        WHERE a.workspace_id = workspace;
    END IF;
    RETURN NULL;
END $$;

-- Fold, and write down what that comes to. The caller holds the row. Answers whether the access is another one now.
CREATE FUNCTION datalane.settle_access(
    workspace uuid, reassign boolean, actor uuid, correlation text, causation uuid, depth integer, at timestamptz)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    before datalane.demo_access; fold record; why text; error text; changed boolean;
BEGIN
    SELECT a.* INTO before FROM datalane.demo_access a WHERE a.workspace_id = workspace;
    SELECT f.state, f.plan_id, f.since, f.ends_at, f.grace_seconds, f.source_system, f.source_event_id, f.source_version, f.named_plan_id,
           f.steps, f.outcomes, least(datalane.access_deadline(f.state, f.ends_at, f.grace_seconds), f.ahead_at) AS next_at
    INTO fold FROM datalane.fold_demo_access(workspace, at) AS f;
    UPDATE datalane.access_signals s SET outcome = o.was ->> 'outcome', reason = o.was ->> 'reason'
    FROM unnest(fold.outcomes) AS o (was)
    WHERE s.workspace_id = workspace AND s.source_system = o.was ->> 'system' AND s.source_event_id = o.was ->> 'id'
      AND (s.outcome, s.reason) IS DISTINCT FROM (o.was ->> 'outcome', o.was ->> 'reason');
    why := coalesce(fold.steps[cardinality(fold.steps)] ->> 'why', 'settled');
    error := left(datalane.settle_access_plan(
        workspace, before, fold.state, fold.since, ARRAY[fold.plan_id, fold.named_plan_id], fold.ends_at + make_interval(secs => fold.grace_seconds), why,
        reassign, at), 500);
    changed := (before.state, before.plan_id, before.ends_at, before.grace_seconds)
        IS DISTINCT FROM (fold.state, fold.plan_id, fold.ends_at, fold.grace_seconds);
    PERFORM datalane.write_access_history(workspace, fold.steps, actor, correlation, at);
    UPDATE datalane.demo_access a
    SET state = fold.state, plan_id = fold.plan_id, since = fold.since, ends_at = fold.ends_at, grace_seconds = fold.grace_seconds,
        next_at = fold.next_at, sweep_at = fold.next_at, source_system = fold.source_system,
        source_event_id = fold.source_event_id, source_version = fold.source_version, sync_error = error,
        sync_failed_at = CASE WHEN error IS NOT NULL THEN at END,
        last_synced_at = CASE WHEN error IS NULL THEN at ELSE a.last_synced_at END, updated_at = at,
        version = a.version + CASE WHEN changed THEN 1 ELSE 0 END
    WHERE a.workspace_id = workspace;
    IF changed THEN
        PERFORM datalane.tell_of_access(workspace, before, why, actor, correlation, causation, depth, at);
    ELSIF before.sync_error IS NOT NULL AND error IS NULL THEN
        PERFORM datalane.tell_of_access(workspace, before, 'resynced', actor, correlation, causation, depth, at);
    END IF;
    RETURN changed;
END $$;

-- Hold the row of the workspace's access, which is made when it is new. Whoever waited for it asks for the time afterwards.
CREATE FUNCTION datalane.hold_access(workspace uuid, now timestamptz)
RETURNS datalane.demo_access LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    held datalane.demo_access; at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    INSERT INTO datalane.demo_access (workspace_id, state, created_at, updated_at, reconcile_at)
    VALUES (workspace, 'pending', at, at, at + interval '1 day')
    ON CONFLICT (workspace_id) DO NOTHING;
    SELECT a.* INTO held FROM datalane.demo_access a WHERE a.workspace_id = workspace FOR UPDATE;
    RETURN held;
END $$;

-- Take signals down, each once, and settle. `signals` are up to 1,000 objects with the columns of a signal. One that says a moment more
-- than 24 hours ahead, or more than five years ago, is held and has no place; told again when it may have one, it gets it. A correction that
-- says no moment holds from now on. Answers a row a signal, in order: `accepted`, `held`, `duplicate`, or `conflict` for one that says
-- something else than the one that came first under its id, with no effect.
CREATE FUNCTION datalane.record_access_signals(
    signals jsonb, actor_id uuid DEFAULT NULL, correlation_id text DEFAULT NULL, causation_id uuid DEFAULT NULL,
    causation_depth integer DEFAULT 0, now timestamptz DEFAULT NULL)
RETURNS TABLE (ordinal bigint, source_system text, source_event_id text, receipt text, outcome text, reason text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    workspace constant uuid := app.workspace_id(); at timestamptz;
    actor constant uuid := coalesce(actor_id, app.actor_id()); correlation constant text := coalesce(correlation_id, app.correlation_id());
    fresh jsonb; before datalane.demo_access;
BEGIN
    PERFORM datalane.require_rank(5);
    IF jsonb_typeof(signals) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'signals are an array of objects' USING ERRCODE = 'DL400';
    ELSIF jsonb_array_length(signals) > 1000 THEN
        RAISE EXCEPTION '% signals at once, the limit is 1,000', jsonb_array_length(signals) USING ERRCODE = 'DL413';
    ELSIF EXISTS (SELECT FROM jsonb_array_elements(signals) AS o (said)
                  WHERE o.said ->> 'signal' = 'correct' AND (o.said ->> 'told_by' IS NULL OR o.said ->> 'note' IS NULL)) THEN
        RAISE EXCEPTION 'a correction says who makes it (told_by) and why (note)' USING ERRCODE = 'DL400';
    END IF;
    before := datalane.hold_access(workspace, now);
    at := coalesce(now, clock_timestamp());
    WITH told AS (
        SELECT x.source_system, x.source_event_id, x.signal, x.state, x.plan_id, x.source_version, x.ends_at, x.grace_seconds, x.told_by,
               x.note, x.place, coalesce(x.occurred_at, at) AS occurred_at
        FROM ROWS FROM (jsonb_to_recordset(signals) AS (source_system text, source_event_id text, signal text, state text, plan_id text,
            occurred_at timestamptz, source_version bigint, ends_at timestamptz, grace_seconds bigint, told_by text, note text))
            WITH ORDINALITY AS x (source_system, source_event_id, signal, state, plan_id, occurred_at, source_version, ends_at,
                                  grace_seconds, told_by, note, place)
    ), taken AS (
        INSERT INTO datalane.access_signals AS s (workspace_id, source_system, source_event_id, signal, state, plan_id, occurred_at,
            source_version, ends_at, grace_seconds, held, late, outcome, reason, received_at, correlation_id, actor_id)
        SELECT workspace, t.source_system, t.source_event_id, t.signal, t.state, t.plan_id, t.occurred_at, t.source_version, t.ends_at,
               t.grace_seconds,
               CASE WHEN t.occurred_at > at + interval '24 hours' THEN 'future'
                    WHEN t.occurred_at < at - interval '43830 hours' THEN 'old' END,
               t.occurred_at < (SELECT max(l.occurred_at) FROM datalane.access_signals l
                                WHERE l.workspace_id = workspace AND l.held IS NULL AND l.occurred_at <= at) IS TRUE,
               CASE WHEN t.occurred_at < at - interval '43830 hours' THEN 'stale' ELSE 'ignored' END,
               CASE WHEN t.occurred_at > at + interval '24 hours' THEN 'it is from the future'
                    WHEN t.occurred_at < at - interval '43830 hours' THEN 'it is from too long ago' END,
               at, correlation, actor
        FROM told t ORDER BY t.place
        ON CONFLICT (workspace_id, source_system, source_event_id) DO NOTHING
        RETURNING s.source_system, s.source_event_id
    ), new AS (
        SELECT min(t.place) AS place FROM told t JOIN taken k ON k.source_system = t.source_system AND k.source_event_id = t.source_event_id
        GROUP BY t.source_system, t.source_event_id
    ), noted AS (
        INSERT INTO datalane.access_notes (workspace_id, note_id, source_system, source_event_id, done, told_by, note, noted_at,
                                           correlation_id, actor_id)
        SELECT workspace, app.uuid7(), t.source_system, t.source_event_id, 'told', t.told_by, t.note, at, correlation, actor
        FROM new n JOIN told t ON t.place = n.place WHERE t.told_by IS NOT NULL OR t.note IS NOT NULL
    )
    SELECT coalesce(jsonb_object_agg(n.place, true), '{}') INTO fresh FROM new n;
    WITH again AS (
        SELECT s.source_system, s.source_event_id, min(o.place) AS place
        FROM jsonb_array_elements(signals) WITH ORDINALITY AS o (said, place)
        JOIN datalane.access_signals s ON s.workspace_id = workspace AND s.source_system = o.said ->> 'source_system'
            AND s.source_event_id = o.said ->> 'source_event_id'
        WHERE s.held IS NOT NULL AND s.occurred_at BETWEEN at - interval '43830 hours' AND at + interval '24 hours'
          AND datalane.is_same_signal(s, o.said)
        GROUP BY s.source_system, s.source_event_id
    ), placed AS (
        UPDATE datalane.access_signals s SET held = NULL FROM again a
        WHERE s.workspace_id = workspace AND s.source_system = a.source_system AND s.source_event_id = a.source_event_id
        RETURNING a.place
    ), noted AS (
        INSERT INTO datalane.access_notes (workspace_id, note_id, source_system, source_event_id, done, told_by, note, noted_at,
                                           correlation_id, actor_id)
        SELECT workspace, app.uuid7(), o.said ->> 'source_system', o.said ->> 'source_event_id', 'released', o.said ->> 'told_by',
               o.said ->> 'note', at, correlation, actor
        FROM placed p JOIN jsonb_array_elements(signals) WITH ORDINALITY AS o (said, place) ON o.place = p.place
        WHERE o.said ->> 'told_by' IS NOT NULL OR o.said ->> 'note' IS NOT NULL
    )
    SELECT fresh || coalesce(jsonb_object_agg(p.place, true), '{}') INTO fresh FROM placed p;
    UPDATE datalane.access_signals s
    SET conflicts = s.conflicts + 1, conflicting = o.said - '{told_by,note}'::text[], conflicted_at = at
    FROM jsonb_array_elements(signals) AS o (said)
    WHERE s.workspace_id = workspace AND s.source_system = o.said ->> 'source_system' AND s.source_event_id = o.said ->> 'source_event_id'
      AND NOT datalane.is_same_signal(s, o.said);
    IF fresh <> '{}' OR before.sync_error IS NOT NULL OR before.next_at <= at THEN
        PERFORM datalane.settle_access(workspace, false, actor, correlation, causation_id, causation_depth, at);
    END IF;
    RETURN QUERY
        SELECT o.place, s.source_system, s.source_event_id,
               CASE WHEN fresh ? o.place::text THEN CASE WHEN s.held IS NULL THEN 'accepted' ELSE 'held' END
                    WHEN datalane.is_same_signal(s, o.said) THEN 'duplicate' ELSE 'conflict' END,
               s.outcome, s.reason
        FROM jsonb_array_elements(signals) WITH ORDINALITY AS o (said, place)
        JOIN datalane.access_signals s ON s.workspace_id = workspace AND s.source_system = o.said ->> 'source_system'
            AND s.source_event_id = o.said ->> 'source_event_id'
        ORDER BY o.place;
END $$;

-- Settle what was told: after a mend, and when an end has passed. `reassign` assigns the plan again, whatever was assigned. Answers
-- where the access is, whether it is another one than before, and why what was told is not applied.
CREATE FUNCTION datalane.settle_demo_access(
    reassign boolean DEFAULT false, actor_id uuid DEFAULT NULL, correlation_id text DEFAULT NULL, causation_id uuid DEFAULT NULL,
    causation_depth integer DEFAULT 0, now timestamptz DEFAULT NULL)
RETURNS TABLE (state text, changed boolean, sync_error text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    workspace constant uuid := app.workspace_id(); is_other boolean;
BEGIN
    PERFORM datalane.require_rank(5);
    PERFORM FROM datalane.demo_access a WHERE a.workspace_id = workspace FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'pending', false, NULL::text;
        RETURN;
    END IF;
    is_other := datalane.settle_access(workspace, reassign, coalesce(actor_id, app.actor_id()),
                                       coalesce(correlation_id, app.correlation_id()), causation_id, causation_depth,
                                       coalesce(now, clock_timestamp()));
    RETURN QUERY SELECT a.state, is_other, a.sync_error FROM datalane.demo_access a WHERE a.workspace_id = workspace;
END $$;

-- Give signals that are held their place, and settle: one, or all of them. One that is more than 24 hours ahead stays. Answers how many.
CREATE FUNCTION datalane.release_access_signals(
    source_system text DEFAULT NULL, source_event_id text DEFAULT NULL, told_by text DEFAULT NULL, note text DEFAULT NULL,
    now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    workspace constant uuid := app.workspace_id(); at timestamptz; released integer;
BEGIN
    PERFORM datalane.require_rank(5);
    PERFORM FROM datalane.demo_access a WHERE a.workspace_id = workspace FOR UPDATE;
    at := coalesce(now, clock_timestamp());
    WITH placed AS (
        UPDATE datalane.access_signals s SET held = NULL
        WHERE s.workspace_id = workspace AND s.held IS NOT NULL AND s.occurred_at <= at + interval '24 hours'
          AND (release_access_signals.source_system IS NULL OR s.source_system = release_access_signals.source_system)
          AND (release_access_signals.source_event_id IS NULL OR s.source_event_id = release_access_signals.source_event_id)
        RETURNING s.source_system, s.source_event_id
    ), noted AS (
        INSERT INTO datalane.access_notes (workspace_id, note_id, source_system, source_event_id, done, told_by, note, noted_at,
                                           correlation_id, actor_id)
        SELECT workspace, app.uuid7(), p.source_system, p.source_event_id, 'released', release_access_signals.told_by,
               release_access_signals.note, at, app.correlation_id(), app.actor_id()
        FROM placed p WHERE release_access_signals.told_by IS NOT NULL OR release_access_signals.note IS NOT NULL
    )
    SELECT count(*) INTO released FROM placed;
    IF released > 0 THEN
        PERFORM datalane.settle_access(workspace, false, app.actor_id(), app.correlation_id(), NULL, 0, at);
    END IF;
    RETURN released;
END $$;

-- Who told these signals, or released them, and why: for admins of the workspace, and the operator.
CREATE FUNCTION datalane.read_access_notes(source_systems text[], source_event_ids text[])
RETURNS TABLE (source_system text, source_event_id text, done text, told_by text, note text, noted_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    PERFORM datalane.require_rank(3);
    RETURN QUERY
        SELECT n.source_system, n.source_event_id, n.done, n.told_by, n.note, n.noted_at
        FROM unnest(source_systems, source_event_ids) AS o (source_system, source_event_id)
        JOIN datalane.access_notes n ON n.workspace_id = app.workspace_id() AND n.source_system = o.source_system
            AND n.source_event_id = o.source_event_id
        ORDER BY n.note_id;
END $$;

-- Nobody settles until the transaction ends: what is read meanwhile fits together. Answers the time.
CREATE FUNCTION datalane.lock_demo_access() RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.require_rank(5);
    PERFORM FROM datalane.demo_access a WHERE a.workspace_id = app.workspace_id() FOR UPDATE;
    RETURN clock_timestamp();
END $$;

-- Keep what the last reconciling found, 100 differences at most; an empty array is nothing. The next one is asked for after `again`.
CREATE FUNCTION datalane.note_access_difference(difference jsonb, again interval DEFAULT '1 day', now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    workspace constant uuid := app.workspace_id(); at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    PERFORM datalane.require_rank(5);
    UPDATE datalane.demo_access a
    SET difference = nullif(note_access_difference.difference, '[]'), reconciled_at = at, reconcile_at = at + again,
        last_synced_at = CASE WHEN note_access_difference.difference = '[]' AND a.sync_error IS NULL THEN at ELSE a.last_synced_at END
    WHERE a.workspace_id = workspace;
END $$;

-- Whether what is told under the id of a signal says the same.
CREATE FUNCTION datalane.is_same_signal(known datalane.access_signals, said jsonb)
RETURNS boolean LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT (known.signal, known.state, known.plan_id, known.source_version, known.ends_at, known.grace_seconds)
           IS NOT DISTINCT FROM (said ->> 'signal', said ->> 'state', said ->> 'plan_id', (said ->> 'source_version')::bigint,
                                 (said ->> 'ends_at')::timestamptz, (said ->> 'grace_seconds')::bigint)
       AND coalesce((said ->> 'occurred_at')::timestamptz = known.occurred_at, true)
$$;

-- The sweep: a job for each access of which an end has passed or a signal's time has come, and for each that is to be reconciled. Who was
-- asked is asked again after `patience`, unless the job was done. Both walk an index up to now, and no further; the plan is pinned.
CREATE FUNCTION datalane.sweep_demo_access(
    most integer DEFAULT 500, patience interval DEFAULT '10 minutes', now timestamptz DEFAULT NULL)
RETURNS TABLE (settling integer, reconciling integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); found uuid;
BEGIN
    settling := 0; reconciling := 0;
    FOR found IN
        SELECT a.workspace_id FROM datalane.demo_access a WHERE a.sweep_at <= at
        ORDER BY a.sweep_at LIMIT most FOR UPDATE SKIP LOCKED
    LOOP
        UPDATE datalane.demo_access a SET sweep_at = at + patience WHERE a.workspace_id = found;
        PERFORM datalane.ask_for_access(found, 'access.settle', at);
        settling := settling + 1;
    END LOOP;
    FOR found IN
        SELECT a.workspace_id FROM datalane.demo_access a WHERE a.reconcile_at < at
        ORDER BY a.reconcile_at LIMIT most FOR UPDATE SKIP LOCKED
    LOOP
        UPDATE datalane.demo_access a SET reconcile_at = at + patience WHERE a.workspace_id = found;
        PERFORM datalane.ask_for_access(found, 'access.reconcile', at);
        reconciling := reconciling + 1;
    END LOOP;
    RETURN NEXT;
END $$;

CREATE FUNCTION datalane.ask_for_access(workspace uuid, kind text, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.enqueue_core(
        workspace, ARRAY[kind], ARRAY['{}'::jsonb], ARRAY[workspace::text], NULL, NULL, NULL, NULL, NULL,
        '00000000-0000-0000-0000-000000000000', replace(app.uuid7()::text, '-', ''), NULL, 0, NULL, at);
END $$;

REVOKE ALL ON FUNCTION
    datalane.access_rule(text, text),
    datalane.access_fall(text, timestamptz, bigint, timestamptz),
    datalane.access_deadline(text, timestamptz, bigint),
    datalane.access_signals_in_order(uuid),
    datalane.fold_demo_access(uuid, timestamptz),
    datalane.write_access_history(uuid, jsonb[], uuid, text, timestamptz),
    datalane.tell_of_access(uuid, datalane.demo_access, text, uuid, text, uuid, integer, timestamptz),
    datalane.pick_access_plan(uuid, text[]),
    datalane.assign_access_plan(uuid, text, text, timestamptz, text, timestamptz),
    datalane.close_access_plan(uuid, text, integer, text, timestamptz, timestamptz),
    datalane.settle_access_plan(uuid, datalane.demo_access, text, timestamptz, text[], timestamptz, text, boolean, timestamptz),
    datalane.settle_access(uuid, boolean, uuid, text, uuid, integer, timestamptz),
    datalane.hold_access(uuid, timestamptz),
    datalane.record_access_signals(jsonb, uuid, text, uuid, integer, timestamptz),
    datalane.settle_demo_access(boolean, uuid, text, uuid, integer, timestamptz),
    datalane.release_access_signals(text, text, text, text, timestamptz),
    datalane.read_access_notes(text[], text[]),
    datalane.lock_demo_access(),
    datalane.note_access_difference(jsonb, interval, timestamptz),
    datalane.is_same_signal(datalane.access_signals, jsonb),
    datalane.sweep_demo_access(integer, interval, timestamptz),
    datalane.ask_for_access(uuid, text, timestamptz)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    datalane.access_rule(text, text),
    datalane.record_access_signals(jsonb, uuid, text, uuid, integer, timestamptz),
    datalane.settle_demo_access(boolean, uuid, text, uuid, integer, timestamptz),
    datalane.release_access_signals(text, text, text, text, timestamptz),
    datalane.read_access_notes(text[], text[]),
    datalane.lock_demo_access(),
    datalane.note_access_difference(jsonb, interval, timestamptz)
TO datalane_app;
GRANT EXECUTE ON FUNCTION datalane.sweep_demo_access(integer, interval, timestamptz) TO datalane_maintenance;
SET LOCAL ROLE datalane_owner;
