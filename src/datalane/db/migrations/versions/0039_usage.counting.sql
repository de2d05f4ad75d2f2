SET LOCAL ROLE datalane_definer;

-- The first moment at which clocks of a time zone show `local`: where they are set back over it, they show it twice.
CREATE FUNCTION datalane.first_moment(local timestamp, time_zone text) RETURNS timestamptz LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT least(local AT TIME ZONE time_zone, (
        SELECT min(local AT TIME ZONE time_zone - d.back) FROM (VALUES (interval '30 minutes'), (interval '1 hour')) AS d (back)
        WHERE (local AT TIME ZONE time_zone - d.back) AT TIME ZONE time_zone = local))
$$;

-- The period of a window that holds a moment. Days and months are those of the time zone, so that one follows the other without a gap
-- also where clocks are changed; minutes and hours are those of UTC. A rolling window is one period.
CREATE FUNCTION datalane.usage_period(in_window text, time_zone text, at timestamptz)
RETURNS TABLE (starts_at timestamptz, ends_at timestamptz) LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT CASE WHEN in_window = 'rolling' THEN '-infinity' WHEN in_window IN ('minute', 'hour') THEN date_trunc(in_window, at, 'UTC')
                ELSE datalane.first_moment(date_trunc(in_window, at AT TIME ZONE time_zone), time_zone) END,
           CASE WHEN in_window = 'rolling' THEN 'infinity' WHEN in_window IN ('minute', 'hour')
                THEN date_trunc(in_window, at, 'UTC') + ('1 ' || in_window)::interval
                ELSE datalane.first_moment(date_trunc(in_window, at AT TIME ZONE time_zone) + ('1 ' || in_window)::interval, time_zone) END
$$;

-- Where somebody is told next: the first of the warnings and the limit that is not reached yet.
CREATE FUNCTION datalane.usage_mark(consumed bigint, most bigint, warn_at integer[]) RETURNS bigint LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
    SELECT min(m.units) FROM (
        SELECT ceil(most * w.percent / 100.0)::bigint AS units FROM unnest(warn_at) AS w (percent) UNION ALL SELECT most
    ) AS m WHERE m.units > consumed
$$;

-- What is used is a whole number, and says by its key which use it is.
CREATE FUNCTION datalane.check_use(units bigint, idempotency_key text) RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
BEGIN
    IF units IS NULL OR units NOT BETWEEN 1 AND 1000000000000000 THEN
        RAISE EXCEPTION 'a use has 1 to 10^15 units, not %', units USING ERRCODE = 'DL400';
    ELSIF idempotency_key IS NULL OR length(idempotency_key) NOT BETWEEN 1 AND 200 OR position(E'\x1f' IN idempotency_key) > 0 THEN
        RAISE EXCEPTION 'an idempotency key has 1 to 200 characters, and none that separates' USING ERRCODE = 'DL400';
    ELSIF starts_with(idempotency_key, 'lane:') THEN
        RAISE EXCEPTION 'idempotency keys that begin with lane: are those of the lane itself' USING ERRCODE = 'DL400';
    END IF;
END $$;

-- A period is over: an audit record says what was used of it. The caller holds the counter.
CREATE FUNCTION datalane.close_usage_period(workspace uuid, quota text, starts_at timestamptz, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    done record;
BEGIN
    UPDATE datalane.usage_counters c SET closed_at = at, straight_until = '-infinity'
    WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = starts_at AND c.closed_at IS NULL
    RETURNING c.period_end, c.consumed_units, c.reserved_units, c.limit_units, c.plan_id, c.plan_version INTO done;
    IF FOUND THEN
        PERFORM datalane.audit_for(
            workspace, '00000000-0000-0000-0000-000000000000', coalesce(app.correlation_id(), 'usage.boundary'), 'usage.reset', 'usage_counter', quota,
            jsonb_build_object('period_start', starts_at, 'period_end', done.period_end, 'consumed_units', done.consumed_units,
                               'reserved_units', done.reserved_units, 'limit_units', done.limit_units,
                               'plan_id', done.plan_id, 'plan_version', done.plan_version),
            jsonb_build_object('consumed_units', 0), at);
    END IF;
END $$;

-- Drop from a rolling counter what its window has left. A clock that was set back lets what it had dropped in again, from the ledger; of
-- callers who read it a moment before each other the later one's time holds. That the limit was reached is told once in a window, as units
-- come and go all the time. The caller holds the counter.
CREATE FUNCTION datalane.roll_usage_counter(workspace uuid, quota text, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    held record; target timestamptz; left_units bigint;
BEGIN
    SELECT c.rolled_to, c.rolling_seconds, c.warn_at INTO held FROM datalane.usage_counters c
    WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = '-infinity';
    target := at - make_interval(secs => held.rolling_seconds);
    IF target > held.rolled_to THEN
        SELECT coalesce(sum(l.units), 0) INTO left_units FROM datalane.usage_ledger l
        WHERE l.workspace_id = workspace AND l.quota_key = quota AND l.period_start = '-infinity'
          AND l.at > '-infinity' AND l.at > held.rolled_to AND l.at <= target;
    ELSIF target < held.rolled_to - interval '30 seconds' THEN
        SELECT -coalesce(sum(l.units), 0) INTO left_units FROM datalane.usage_ledger l
        WHERE l.workspace_id = workspace AND l.quota_key = quota AND l.period_start = '-infinity'
          AND l.at > '-infinity' AND l.at > target AND l.at <= held.rolled_to;
    ELSE
        RETURN;
    END IF;
    UPDATE datalane.usage_counters c
    SET rolled_to = target, consumed_units = c.consumed_units - left_units,
        mark_units = CASE WHEN left_units = 0 THEN c.mark_units ELSE datalane.usage_mark(c.consumed_units - left_units, c.limit_units, c.warn_at) END,
        limit_reached_at = CASE WHEN c.limit_reached_at > target THEN c.limit_reached_at END
    WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = '-infinity';
END $$;

-- The counter of a quota at a moment, held until the transaction ends, with the limit that holds then. A new period closes those that are
-- over, and one of another window those that it takes the place of; those that have just ended are left a moment to who came in time. `asked`
-- is the moment whose period it is, which for what is told late lies before `at`. Null where the workspace has no such quota.
CREATE FUNCTION datalane.hold_usage_counter(workspace uuid, quota text, at timestamptz, asked timestamptz)
RETURNS datalane.usage_counters LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    held datalane.usage_counters; terms record; period record; number bigint; over record;
BEGIN
    -- The version is read before what it counts, so that it is never newer than the limit.
    SELECT v.version INTO number FROM datalane.entitlement_versions v WHERE v.workspace_id = workspace;
    number := coalesce(number, 0);
    SELECT c.* INTO held FROM datalane.usage_counters c
    WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start <= asked AND c.closed_at IS NULL
    ORDER BY c.period_start DESC LIMIT 1 FOR UPDATE;
    IF NOT FOUND THEN
        -- Who opens the first one does so alone: two that read different terms would open one each.
        PERFORM pg_advisory_xact_lock(hashtextextended(workspace || quota, 39));
        SELECT c.* INTO held FROM datalane.usage_counters c
        WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start <= asked AND c.closed_at IS NULL
        ORDER BY c.period_start DESC LIMIT 1 FOR UPDATE;
    END IF;
    IF NOT FOUND OR held.period_end <= asked OR held.limit_until <= at OR held.entitlement_version <> number
            OR asked = at AND held.straight_until <= at AND held.rolling_seconds IS NULL THEN
        SELECT q.* INTO terms FROM datalane.quotas_in(workspace, at, quota) AS q;
        SELECT p.starts_at, p.ends_at INTO period FROM datalane.usage_period(terms.in_window, terms.time_zone, at) AS p;
        IF terms.quota_key IS NULL OR asked < period.starts_at THEN
            -- What is told of a period before is bounded as it was then.
            SELECT q.* INTO over FROM datalane.quotas_in(workspace, asked, quota) AS q;
            IF over.quota_key IS NOT NULL THEN
                terms := over;
            END IF;
            SELECT p.starts_at, p.ends_at INTO period FROM datalane.usage_period(terms.in_window, terms.time_zone, asked) AS p;
        END IF;
        IF terms.quota_key IS NULL THEN
            RETURN NULL;
        END IF;
        INSERT INTO datalane.usage_counters (workspace_id, quota_key, period_start, period_end, consumed_units, reserved_units, limit_units,
                                             rolling_seconds, rolled_to, warn_at, mark_units, limit_until, straight_until,
                                             entitlement_version, plan_id, plan_version, recovering, counter_version)
        VALUES (workspace, quota, period.starts_at, period.ends_at, 0, 0, terms.limit_units, terms.seconds,
                CASE WHEN terms.seconds IS NOT NULL THEN at - make_interval(secs => terms.seconds) END, terms.warn_at,
                datalane.usage_mark(0, terms.limit_units, terms.warn_at), coalesce(terms.holds_until, 'infinity'), '-infinity', number,
                terms.plan_id, terms.plan_version, terms.recovering, 0)
        ON CONFLICT (workspace_id, quota_key, period_start) DO NOTHING;
        IF asked = at THEN
            FOR over IN
                SELECT c.period_start FROM datalane.usage_counters c
                WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.closed_at IS NULL AND c.period_start <> period.starts_at
                  AND (c.period_end <= at - interval '5 seconds' OR c.period_start <= at AND c.period_end > at)
                ORDER BY c.period_start FOR UPDATE
            LOOP
                PERFORM datalane.close_usage_period(workspace, quota, over.period_start, at);
            END LOOP;
            -- One that the system has opened for a time to come takes nothing from this one.
            UPDATE datalane.usage_counters c SET straight_until = '-infinity'
            WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.closed_at IS NULL AND c.period_start > at
              AND c.period_start < period.ends_at AND c.period_start <> period.starts_at AND c.straight_until > at;
        END IF;
        SELECT c.* INTO held FROM datalane.usage_counters c
        WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = period.starts_at FOR UPDATE;
        IF held.entitlement_version <= number THEN
            UPDATE datalane.usage_counters c
            SET period_end = period.ends_at, limit_units = terms.limit_units, warn_at = terms.warn_at, rolling_seconds = terms.seconds,
                mark_units = datalane.usage_mark(c.consumed_units, terms.limit_units, terms.warn_at),
                limit_until = coalesce(terms.holds_until, 'infinity'), entitlement_version = number, plan_id = terms.plan_id,
                straight_until = CASE WHEN asked = at AND terms.seconds IS NULL
                                      THEN least(period.ends_at, terms.holds_until) ELSE '-infinity' END,
                plan_version = terms.plan_version, recovering = terms.recovering,
                limit_reached_at = CASE WHEN c.consumed_units + c.reserved_units >= terms.limit_units THEN c.limit_reached_at END
            WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = period.starts_at
            RETURNING c.rolling_seconds INTO held.rolling_seconds;
        END IF;
    END IF;
    IF held.closed_at IS NOT NULL AND held.period_end > at THEN
        UPDATE datalane.usage_counters c SET closed_at = NULL
        WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = held.period_start;
    END IF;
    IF held.reserved_units > 0 THEN
        FOR over IN
            SELECT r.idempotency_key FROM datalane.usage_reservations r
            WHERE r.workspace_id = workspace AND r.quota_key = quota AND r.period_start = held.period_start AND r.status = 'open' AND r.expires_at <= at
        LOOP
            PERFORM datalane.settle_reservation(workspace, quota, over.idempotency_key, 'expired', at);
        END LOOP;
    END IF;
    IF held.rolling_seconds IS NOT NULL THEN
        PERFORM datalane.roll_usage_counter(workspace, quota, at);
    END IF;
    SELECT c.* INTO held FROM datalane.usage_counters c
    WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = held.period_start;
    RETURN held;
END $$;

-- Tell once of what a counter has come to: a warning, or the limit. The caller holds the counter.
CREATE FUNCTION datalane.tell_of_usage(
    workspace uuid, quota text, starts_at timestamptz, refused boolean, actor uuid, correlation text, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    held datalane.usage_counters; told text; percent integer;
BEGIN
    SELECT c.* INTO held FROM datalane.usage_counters c
    WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = starts_at;
    IF refused OR held.consumed_units >= held.limit_units THEN
        told := CASE WHEN held.limit_reached_at IS NULL THEN 'usage.limit_reached' END;
    ELSE
        SELECT max(w.percent) INTO percent FROM unnest(held.warn_at) AS w (percent)
        WHERE ceil(held.limit_units * w.percent / 100.0) <= held.consumed_units;
        told := CASE WHEN percent IS NOT NULL AND (held.rolling_seconds IS NULL OR coalesce(held.warned_at, '-infinity') <= held.rolled_to)
                     THEN 'usage.threshold_reached' END;
    END IF;
    UPDATE datalane.usage_counters c
    SET limit_reached_at = CASE WHEN told = 'usage.limit_reached' THEN at ELSE c.limit_reached_at END,
        warned_at = CASE WHEN told = 'usage.threshold_reached' THEN at ELSE c.warned_at END,
        mark_units = datalane.usage_mark(c.consumed_units, c.limit_units, c.warn_at)
    WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = starts_at;
    IF told IS NOT NULL THEN
        PERFORM datalane.publish_for(
            workspace, actor, correlation, told,
            jsonb_strip_nulls(jsonb_build_object(
                'quota_key', quota, 'consumed_units', held.consumed_units, 'limit_units', held.limit_units, 'percent', percent,
                'plan_id', held.plan_id, 'plan_version', held.plan_version,
                'period_start', CASE WHEN held.rolling_seconds IS NULL THEN held.period_start END,
                'period_end', CASE WHEN held.rolling_seconds IS NULL THEN held.period_end END)),
            quota, now => at);
    END IF;
END $$;

-- From when on there may be room for so many units: at the end of the period, or when enough has left the rolling window or is no longer set
-- aside; null where a limit is below them at all times.
CREATE FUNCTION datalane.usage_retry_at(held datalane.usage_counters, units bigint) RETURNS timestamptz LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    needed bigint := held.consumed_units + held.reserved_units + units - held.limit_units; used record; free_at timestamptz;
BEGIN
    IF held.limit_units IS NULL OR units > held.limit_units THEN
        RETURN NULL;
    ELSIF held.rolling_seconds IS NULL THEN
        RETURN held.period_end;
    END IF;
    FOR used IN
        SELECT l.at, l.units FROM datalane.usage_ledger l
        WHERE l.workspace_id = held.workspace_id AND l.quota_key = held.quota_key AND l.period_start = held.period_start
          AND l.at > '-infinity' AND l.at > held.rolled_to
        ORDER BY l.at
    LOOP
        needed := needed - used.units;
        free_at := used.at + make_interval(secs => held.rolling_seconds);
        EXIT WHEN needed <= 0;
    END LOOP;
    IF needed > 0 THEN
        SELECT max(r.expires_at) INTO free_at FROM datalane.usage_reservations r
        WHERE r.workspace_id = held.workspace_id AND r.quota_key = held.quota_key AND r.period_start = held.period_start AND r.status = 'open';
    END IF;
    RETURN free_at;
END $$;

-- What a use that was counted already is answered with.
CREATE FUNCTION datalane.usage_replayed(workspace uuid, quota text, key text, units bigint)
RETURNS TABLE (outcome text, consumed_units bigint, reserved_units bigint, limit_units bigint, period_start timestamptz, period_end timestamptz, retry_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    first record;
BEGIN
    SELECT l.units, l.kind, l.period_start INTO first FROM datalane.usage_ledger l
    WHERE l.workspace_id = workspace AND l.quota_key = quota AND l.idempotency_key = key;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the use under this key has just been forgotten, with its period' USING ERRCODE = 'DL409';
    ELSIF first.kind <> 'consume' OR first.units <> units THEN
        RAISE EXCEPTION 'the idempotency key was used for something else: % of % units', first.kind, first.units USING ERRCODE = 'DL409';
    END IF;
    RETURN QUERY SELECT 'replayed', c.consumed_units, c.reserved_units, c.limit_units, nullif(c.period_start, '-infinity'),
                        nullif(c.period_end, 'infinity'), NULL::timestamptz
    FROM datalane.usage_counters c WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = first.period_start;
END $$;

-- Raise that there is no such quota, and say which there are.
CREATE FUNCTION datalane.no_such_quota(workspace uuid, quota text, at timestamptz) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    plan text; known text;
BEGIN
    SELECT p.plan_id INTO plan FROM datalane.plan_in(workspace, at) AS p;
    IF plan IS NULL THEN
        RAISE EXCEPTION 'the workspace has no plan, so there is no quota %', left(quota, 80) USING ERRCODE = 'DL400';
    END IF;
    SELECT string_agg(q.quota_key, ', ' ORDER BY q.quota_key) INTO known FROM datalane.quotas_in(workspace, at) AS q;
    RAISE EXCEPTION 'the plan % has no quota %; it has %', plan, left(quota, 80), coalesce(left(known, 500), 'none') USING ERRCODE = 'DL400';
END $$;

-- Plans are kept by connections that may have made them while the tables were small, so that seeking by the keys is not left to estimates.
-- Each setting of a function takes time at each call; `consume` has no more of them than it needs.

-- Use units of a quota, inside the caller's transaction: counted once by the key, never over the limit, and undone when the transaction
-- is. `outcome` is `accepted`, `replayed` (counted before) or `refused`, which changes nothing. A replay holds the counter as a use does.
CREATE FUNCTION datalane.consume(
    quota_key text, units bigint, idempotency_key text, now timestamptz DEFAULT NULL, OUT outcome text, OUT consumed_units bigint,
    OUT reserved_units bigint, OUT limit_units bigint, OUT period_start timestamptz, OUT period_end timestamptz, OUT retry_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at timestamptz; mark bigint;
BEGIN
    IF workspace IS NULL OR app.actor_rank() < 2 THEN
        PERFORM datalane.require_rank(2);
    END IF;
    at := CASE WHEN now IS NULL THEN clock_timestamp() ELSE datalane.told_time(now) END;
    IF units BETWEEN 1 AND 1000000000000000 AND length(idempotency_key) BETWEEN 1 AND 200 AND NOT starts_with(idempotency_key, 'lane:')
            AND position(E'\x1f' IN idempotency_key) = 0 THEN
        -- What is asked for all the time goes straight; everything else is looked at closely.
        UPDATE datalane.usage_counters c
        SET consumed_units = c.consumed_units + units, last_increment_at = at, last_increment_correlation_id = app.correlation_id(),
            counter_version = c.counter_version + 1
        WHERE c.workspace_id = workspace AND c.quota_key = quota_key AND c.closed_at IS NULL
          AND c.period_start <= at AND c.straight_until > at
          AND c.entitlement_version = coalesce((SELECT v.version FROM datalane.entitlement_versions v WHERE v.workspace_id = workspace), 0)
          AND (c.limit_units IS NULL OR c.consumed_units + c.reserved_units + units <= c.limit_units)
        RETURNING c.consumed_units, c.reserved_units, c.limit_units, c.period_start, c.period_end, c.mark_units
        INTO consumed_units, reserved_units, limit_units, period_start, period_end, mark;
        IF FOUND THEN
            INSERT INTO datalane.usage_ledger (workspace_id, quota_key, idempotency_key, kind, units, period_start, at, recorded_at, actor_id,
                                               correlation_id)
            VALUES (workspace, quota_key, idempotency_key, 'consume', units, period_start, at, at, app.actor_id(), app.correlation_id())
            ON CONFLICT DO NOTHING;
            IF FOUND THEN
                IF consumed_units >= mark THEN
                    PERFORM datalane.tell_of_usage(workspace, quota_key, period_start, false, app.actor_id(), app.correlation_id(), at);
                END IF;
                outcome := 'accepted';
                RETURN;
            END IF;
            -- The key is known: the counter as it was, with its last increment by the ledger.
            UPDATE datalane.usage_counters c
            SET consumed_units = c.consumed_units - units, counter_version = c.counter_version - 1,
                (last_increment_at, last_increment_correlation_id) = (
                    SELECT l.at, l.correlation_id FROM datalane.usage_ledger l
                    WHERE l.workspace_id = workspace AND l.quota_key = quota_key AND l.period_start = period_start
                      AND l.at > '-infinity' AND l.kind <> 'correction'
                    ORDER BY l.at DESC, l.recorded_at DESC LIMIT 1)
            WHERE c.workspace_id = workspace AND c.quota_key = quota_key AND c.period_start = period_start;
        END IF;
    END IF;
    SELECT r.outcome, r.consumed_units, r.reserved_units, r.limit_units, r.period_start, r.period_end, r.retry_at
    INTO outcome, consumed_units, reserved_units, limit_units, period_start, period_end, retry_at
    FROM datalane.consume_closely(workspace, app.actor_id(), app.correlation_id(), quota_key, units, idempotency_key, at) AS r;
END $$;

-- A use in a transaction of its own, in one round trip: states the tenant door and uses the quota. It runs with its caller's rights, so the
-- login, who may call it, has no more by it than by the door's statements; what they set ends with the statement. `settings` are more of them,
-- as `; SET LOCAL name = 'value'`, or empty.
CREATE FUNCTION datalane.consume_as(
    workspace uuid, actor uuid, actor_role text, correlation text, settings text, quota_key text, units bigint, idempotency_key text)
RETURNS record LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE pg_catalog.format(
        'SET LOCAL ROLE datalane_app; SET LOCAL app.workspace_id = %L; SET LOCAL app.actor_id = %L; SET LOCAL app.actor_role = %L; '
        'SET LOCAL app.correlation_id = %L%s', workspace, actor, actor_role, correlation, settings);
    RETURN datalane.consume(quota_key, units, idempotency_key);
END $$;

-- Many uses of one quota that come at the same time, each with its actor and correlation: one lock of the counter and one commit for all.
-- Answers one row for each, in order. Where all fit they are one statement, else each is looked at on its own.
CREATE FUNCTION datalane.consume_batch(quota_key text, units bigint[], idempotency_keys text[], actor_ids uuid[], correlation_ids text[])
RETURNS TABLE (ordinal bigint, outcome text, consumed_units bigint, reserved_units bigint, limit_units bigint, period_start timestamptz,
               period_end timestamptz, retry_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at constant timestamptz := clock_timestamp(); total bigint; number bigint; held record;
BEGIN
    PERFORM datalane.require_rank(2);
    SELECT sum(u.units), count(*) INTO total, number FROM (
        SELECT b.units FROM unnest(units, idempotency_keys) AS b (units, key)
        WHERE b.units BETWEEN 1 AND 1000000000000 AND length(b.key) BETWEEN 1 AND 200 AND NOT starts_with(b.key, 'lane:')
          AND position(E'\x1f' IN b.key) = 0) AS u;
    IF number = cardinality(units) AND number = (SELECT count(DISTINCT k.key) FROM unnest(idempotency_keys) AS k (key)) THEN
        UPDATE datalane.usage_counters c
        SET consumed_units = c.consumed_units + total, last_increment_at = at,
            last_increment_correlation_id = correlation_ids[cardinality(correlation_ids)], counter_version = c.counter_version + number
        WHERE c.workspace_id = workspace AND c.quota_key = quota_key AND c.closed_at IS NULL
          AND c.period_start <= at AND c.straight_until > at
          AND c.entitlement_version = coalesce((SELECT v.version FROM datalane.entitlement_versions v WHERE v.workspace_id = workspace), 0)
          AND (c.limit_units IS NULL OR c.consumed_units + c.reserved_units + total <= c.limit_units)
          AND NOT EXISTS (SELECT FROM unnest(idempotency_keys) AS k (key) CROSS JOIN LATERAL (
                              SELECT l.kind FROM datalane.usage_ledger l
                              WHERE l.workspace_id = workspace AND l.quota_key = quota_key AND l.idempotency_key = k.key LIMIT 1) AS known)
        RETURNING c.consumed_units, c.reserved_units, c.limit_units, c.period_start, c.period_end, c.mark_units INTO held;
        IF FOUND THEN
            INSERT INTO datalane.usage_ledger (workspace_id, quota_key, idempotency_key, kind, units, period_start, at, recorded_at, actor_id,
                                               correlation_id)
            SELECT workspace, quota_key, b.key, 'consume', b.units, held.period_start, at, at, b.actor, b.correlation
            FROM unnest(units, idempotency_keys, actor_ids, correlation_ids) AS b (units, key, actor, correlation) ORDER BY b.key
            ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS total = ROW_COUNT;
            IF total = number THEN
                IF held.consumed_units >= held.mark_units THEN
                    PERFORM datalane.tell_of_usage(workspace, quota_key, held.period_start, false, actor_ids[1], correlation_ids[1], at);
                END IF;
                RETURN QUERY SELECT b.place, 'accepted', held.consumed_units, held.reserved_units, held.limit_units, held.period_start,
                                    held.period_end, NULL::timestamptz
                FROM unnest(idempotency_keys) WITH ORDINALITY AS b (key, place) ORDER BY b.place;
                RETURN;
            END IF;
            RAISE EXCEPTION 'another use with one of these keys came in between' USING ERRCODE = 'DL409';
        END IF;
    END IF;
    RETURN QUERY
        SELECT b.place, r.outcome, r.consumed_units, r.reserved_units, r.limit_units, r.period_start, r.period_end, r.retry_at
        FROM unnest(units, idempotency_keys, actor_ids, correlation_ids) WITH ORDINALITY AS b (units, key, actor, correlation, place)
        CROSS JOIN LATERAL datalane.consume_closely(workspace, b.actor, b.correlation, quota_key, b.units, b.key, at) AS r ORDER BY b.place;
END $$;

-- A use that is not the usual one: the first of a period, of a rolling window or after a limit has changed, one that came before, one that
-- reaches the limit, and one that is none.
CREATE FUNCTION datalane.consume_closely(
    workspace uuid, actor uuid, correlation text, quota_key text, units bigint, idempotency_key text, at timestamptz,
    by_lane boolean DEFAULT false)
RETURNS TABLE (outcome text, consumed_units bigint, reserved_units bigint, limit_units bigint, period_start timestamptz, period_end timestamptz, retry_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
#variable_conflict use_variable
DECLARE
    mark bigint; held datalane.usage_counters; known text; used_at timestamptz;
BEGIN
    IF by_lane THEN
        PERFORM datalane.check_use(units, 'lane');
    ELSE
        PERFORM datalane.check_use(units, idempotency_key);
    END IF;
    SELECT l.kind INTO known FROM datalane.usage_ledger l
    WHERE l.workspace_id = workspace AND l.quota_key = quota_key AND l.idempotency_key = idempotency_key;
    IF known IS NULL THEN
        -- Who comes after the limit was told of is refused without a lock.
        SELECT c.* INTO held FROM datalane.usage_counters c
        WHERE c.workspace_id = workspace AND c.quota_key = quota_key AND c.period_start <= at AND c.period_end > at AND c.limit_until > at
          AND c.rolling_seconds IS NULL AND c.limit_reached_at IS NOT NULL AND c.consumed_units + c.reserved_units + units > c.limit_units
          AND c.entitlement_version = coalesce((SELECT v.version FROM datalane.entitlement_versions v WHERE v.workspace_id = workspace), 0)
        ORDER BY c.period_start DESC LIMIT 1;
        IF NOT FOUND THEN
            held := datalane.hold_usage_counter(workspace, quota_key, at, at);
            IF held.workspace_id IS NULL THEN
                PERFORM datalane.no_such_quota(workspace, quota_key, at);
            END IF;
            SELECT l.kind INTO known FROM datalane.usage_ledger l  -- whoever held it before may have brought the same key
            WHERE l.workspace_id = workspace AND l.quota_key = quota_key AND l.idempotency_key = idempotency_key;
            IF known IS NULL AND held.consumed_units + held.reserved_units + units > held.limit_units AND units <= held.limit_units
                    AND held.limit_reached_at IS NULL THEN
                PERFORM datalane.tell_of_usage(workspace, quota_key, held.period_start, true, actor, correlation, at);
            END IF;
        END IF;
        IF known IS NULL AND held.consumed_units + held.reserved_units + units > held.limit_units THEN
            RETURN QUERY SELECT 'refused', held.consumed_units, held.reserved_units, held.limit_units,
                                nullif(held.period_start, '-infinity'), nullif(held.period_end, 'infinity'),
                                datalane.usage_retry_at(held, units);
            RETURN;
        END IF;
    END IF;
    IF known IS NULL THEN
        used_at := greatest(at, held.rolled_to + interval '1 microsecond');
        INSERT INTO datalane.usage_ledger (workspace_id, quota_key, idempotency_key, kind, units, period_start, at, recorded_at, actor_id, correlation_id)
        VALUES (workspace, quota_key, idempotency_key, 'consume', units, held.period_start, used_at, clock_timestamp(), actor, correlation)
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            UPDATE datalane.usage_counters c
            SET consumed_units = c.consumed_units + units, last_increment_at = at, last_increment_correlation_id = correlation,
                counter_version = c.counter_version + 1
            WHERE c.workspace_id = workspace AND c.quota_key = quota_key AND c.period_start = held.period_start
            RETURNING c.consumed_units, c.reserved_units, c.limit_units, nullif(c.period_start, '-infinity'), nullif(c.period_end, 'infinity'), c.mark_units
            INTO consumed_units, reserved_units, limit_units, period_start, period_end, mark;
            IF consumed_units >= mark THEN
                PERFORM datalane.tell_of_usage(workspace, quota_key, held.period_start, false, actor, correlation, at);
            END IF;
            outcome := 'accepted';
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    RETURN QUERY SELECT r.outcome, r.consumed_units, r.reserved_units, r.limit_units, r.period_start, r.period_end, r.retry_at
    FROM datalane.usage_replayed(workspace, quota_key, idempotency_key, units) AS r;
END $$;

-- Use several things under one key, of which those count that the plan has a quota of: one row for each, until one is refused. The caller
-- is to roll back then.
CREATE FUNCTION datalane.consume_sold(quota_keys text[], numbers bigint[], idempotency_key text, now timestamptz DEFAULT NULL)
RETURNS TABLE (quota_key text, units bigint, outcome text, consumed_units bigint, reserved_units bigint, limit_units bigint, retry_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    used record; answer record; at timestamptz;
BEGIN
    PERFORM datalane.require_rank(2);
    at := datalane.told_time(now);
    PERFORM FROM datalane.plan_quotas q WHERE q.quota_key = ANY (quota_keys) LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- In one order, so that two callers never wait for each other.
    FOR used IN
        SELECT u.key, u.number FROM unnest(quota_keys, numbers) AS u (key, number)
        JOIN datalane.quotas_in(app.workspace_id(), at) AS q ON q.quota_key = u.key ORDER BY u.key
    LOOP
        SELECT c.outcome, c.consumed_units, c.reserved_units, c.limit_units, c.retry_at INTO answer
        FROM datalane.consume_closely(app.workspace_id(), app.actor_id(), app.correlation_id(), used.key, used.number,
                                      'lane:' || idempotency_key, at, true) AS c;
        RETURN QUERY SELECT used.key, used.number, answer.outcome, answer.consumed_units, answer.reserved_units, answer.limit_units, answer.retry_at;
        EXIT WHEN answer.outcome = 'refused';
    END LOOP;
END $$;

-- Set units aside for work whose size is not known: `commit_usage` says what it took, `release_usage` that it took nothing, and what nobody
-- settles is released after `lasts`. Answers as `consume`.
CREATE FUNCTION datalane.reserve_usage(quota_key text, units bigint, idempotency_key text, lasts interval DEFAULT '15 minutes', now timestamptz DEFAULT NULL)
RETURNS TABLE (outcome text, consumed_units bigint, reserved_units bigint, limit_units bigint, period_start timestamptz, period_end timestamptz, retry_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at timestamptz; held datalane.usage_counters; known record;
BEGIN
    PERFORM datalane.require_rank(2);
    at := datalane.told_time(now);
    PERFORM datalane.check_use(units, idempotency_key);
    IF lasts IS NULL OR lasts <= interval '0' OR lasts > interval '1 day' THEN
        RAISE EXCEPTION 'a reservation lasts up to a day' USING ERRCODE = 'DL400';
    END IF;
    held := datalane.hold_usage_counter(workspace, quota_key, at, at);
    IF held.workspace_id IS NULL THEN
        PERFORM datalane.no_such_quota(workspace, quota_key, at);
    END IF;
    SELECT r.units, r.status, r.expires_at INTO known FROM datalane.usage_reservations r
    WHERE r.workspace_id = workspace AND r.quota_key = quota_key AND r.idempotency_key = idempotency_key;
    IF FOUND AND known.units = units AND known.status = 'open' AND known.expires_at > at THEN
        outcome := 'replayed';
    ELSIF FOUND OR EXISTS (SELECT FROM datalane.usage_ledger l WHERE l.workspace_id = workspace AND l.quota_key = quota_key
                                                                 AND l.idempotency_key = idempotency_key) THEN
        RAISE EXCEPTION 'the idempotency key was used before, for other units or for what is settled' USING ERRCODE = 'DL409';
    ELSIF held.consumed_units + held.reserved_units + units > held.limit_units THEN
        IF held.limit_reached_at IS NULL AND units <= held.limit_units THEN
            PERFORM datalane.tell_of_usage(workspace, quota_key, held.period_start, true, app.actor_id(), app.correlation_id(), at);
        END IF;
        outcome := 'refused'; retry_at := datalane.usage_retry_at(held, units);
    ELSE
        INSERT INTO datalane.usage_reservations (workspace_id, quota_key, idempotency_key, units, period_start, status, reserved_at, expires_at,
                                                 actor_id, correlation_id)
        VALUES (workspace, quota_key, idempotency_key, units, held.period_start, 'open', at, at + lasts, app.actor_id(), app.correlation_id());
        UPDATE datalane.usage_counters c SET reserved_units = c.reserved_units + units, counter_version = c.counter_version + 1
        WHERE c.workspace_id = workspace AND c.quota_key = quota_key AND c.period_start = held.period_start;
        held.reserved_units := held.reserved_units + units;
        outcome := 'accepted';
    END IF;
    consumed_units := held.consumed_units; reserved_units := held.reserved_units; limit_units := held.limit_units;
    period_start := nullif(held.period_start, '-infinity'); period_end := nullif(held.period_end, 'infinity');
    RETURN NEXT;
END $$;

-- Say what the work took that units were reserved for. What it took beyond them must find room like any other use. It counts in the period
-- in which it was reserved. Answers as `consume`; `refused` leaves the reservation as it is.
CREATE FUNCTION datalane.commit_usage(quota_key text, idempotency_key text, units bigint, now timestamptz DEFAULT NULL)
RETURNS TABLE (outcome text, consumed_units bigint, reserved_units bigint, limit_units bigint, period_start timestamptz, period_end timestamptz, retry_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at timestamptz; held datalane.usage_counters; known datalane.usage_reservations; before bigint;
BEGIN
    PERFORM datalane.require_rank(2);
    at := datalane.told_time(now);
    IF units IS NULL OR units NOT BETWEEN 0 AND 1000000000000000 THEN
        RAISE EXCEPTION 'what was used is 0 to 10^15 units, not %', units USING ERRCODE = 'DL400';
    END IF;
    held := datalane.hold_reserved(workspace, quota_key, idempotency_key, at);
    SELECT r.* INTO known FROM datalane.usage_reservations r
    WHERE r.workspace_id = workspace AND r.quota_key = quota_key AND r.idempotency_key = idempotency_key;
    IF known.status = 'open' AND known.expires_at > at THEN
        IF units > known.units AND held.consumed_units + held.reserved_units + units - known.units > held.limit_units THEN
            outcome := 'refused'; retry_at := datalane.usage_retry_at(held, units - known.units);
        ELSE
            UPDATE datalane.usage_reservations r SET status = 'committed', settled_at = at
            WHERE r.workspace_id = workspace AND r.quota_key = quota_key AND r.idempotency_key = idempotency_key;
            INSERT INTO datalane.usage_ledger (workspace_id, quota_key, idempotency_key, kind, units, period_start, at, recorded_at, actor_id,
                                               correlation_id)
            VALUES (workspace, quota_key, idempotency_key, 'commit', units, known.period_start,
                    CASE WHEN held.rolling_seconds IS NULL THEN known.reserved_at ELSE greatest(at, held.rolled_to + interval '1 microsecond') END,
                    clock_timestamp(), app.actor_id(), app.correlation_id())
            ON CONFLICT DO NOTHING;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'the idempotency key was used for another use meanwhile' USING ERRCODE = 'DL409';
            END IF;
            UPDATE datalane.usage_counters c
            SET reserved_units = c.reserved_units - known.units, consumed_units = c.consumed_units + units, last_increment_at = at,
                last_increment_correlation_id = app.correlation_id(), counter_version = c.counter_version + 1,
                limit_reached_at = CASE WHEN c.consumed_units + units + c.reserved_units - known.units >= c.limit_units THEN c.limit_reached_at END
            WHERE c.workspace_id = workspace AND c.quota_key = quota_key AND c.period_start = known.period_start;
            held.reserved_units := held.reserved_units - known.units; held.consumed_units := held.consumed_units + units;
            IF held.consumed_units >= held.mark_units THEN
                PERFORM datalane.tell_of_usage(workspace, quota_key, known.period_start, false, app.actor_id(), app.correlation_id(), at);
            END IF;
            outcome := 'accepted';
        END IF;
    ELSE
        SELECT l.units INTO before FROM datalane.usage_ledger l
        WHERE l.workspace_id = workspace AND l.quota_key = quota_key AND l.idempotency_key = idempotency_key AND l.kind = 'commit';
        IF before IS DISTINCT FROM units THEN
            RAISE EXCEPTION 'the reservation is %', CASE WHEN known.status = 'committed' THEN format('committed with %s units', before)
                WHEN known.status = 'open' THEN 'expired' ELSE known.status END USING ERRCODE = 'DL409';
        END IF;
        outcome := 'replayed';
    END IF;
    consumed_units := held.consumed_units; reserved_units := held.reserved_units; limit_units := held.limit_units;
    period_start := nullif(held.period_start, '-infinity'); period_end := nullif(held.period_end, 'infinity');
    RETURN NEXT;
END $$;

-- The counter that units are reserved of, held until the transaction ends, with the limit that holds now where its period still does.
CREATE FUNCTION datalane.hold_reserved(workspace uuid, quota text, key text, at timestamptz)
RETURNS datalane.usage_counters LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    known record; held datalane.usage_counters;
BEGIN
    SELECT r.period_start INTO known FROM datalane.usage_reservations r
    WHERE r.workspace_id = workspace AND r.quota_key = quota AND r.idempotency_key = key;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such reservation' USING ERRCODE = 'DL404';
    END IF;
    -- The counter of the period in which they were reserved is locked first: a use of the present one may wait for it, not the other way round.
    PERFORM FROM datalane.usage_counters c
    WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = known.period_start FOR UPDATE;
    SELECT c.* INTO held FROM datalane.usage_counters c
    WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = known.period_start;
    IF held.period_end > at THEN
        held := datalane.hold_usage_counter(workspace, quota, at, at);
        IF held.period_start IS DISTINCT FROM known.period_start THEN
            SELECT c.* INTO held FROM datalane.usage_counters c
            WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = known.period_start;
        END IF;
    END IF;
    RETURN held;
END $$;

-- Give back what was reserved. Answers whether it was still set aside.
CREATE FUNCTION datalane.release_usage(quota_key text, idempotency_key text, now timestamptz DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at timestamptz; held datalane.usage_counters;
BEGIN
    PERFORM datalane.require_rank(2);
    at := datalane.told_time(now);
    held := datalane.hold_reserved(workspace, quota_key, idempotency_key, at);
    RETURN datalane.settle_reservation(workspace, quota_key, idempotency_key, 'released', at);
END $$;

-- Give back what is still set aside under a key. The caller holds the counter.
CREATE FUNCTION datalane.settle_reservation(workspace uuid, quota text, key text, target text, at timestamptz)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    given record;
BEGIN
    UPDATE datalane.usage_reservations r SET status = target, settled_at = at
    WHERE r.workspace_id = workspace AND r.quota_key = quota AND r.idempotency_key = key AND r.status = 'open'
    RETURNING r.units, r.period_start INTO given;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE datalane.usage_counters c
    SET reserved_units = c.reserved_units - given.units, counter_version = c.counter_version + 1,
        limit_reached_at = CASE WHEN c.consumed_units + c.reserved_units - given.units >= c.limit_units THEN c.limit_reached_at END
    WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = given.period_start;
    RETURN true;
END $$;

-- Count what was used already and cannot be refused, as tokens that a model has answered with; once by its key. It may pass the limit:
-- then what is asked for next is refused. Nothing is counted where the plan has no such quota. Not granted to anyone.
CREATE FUNCTION datalane.meter_usage(workspace uuid, quota text, units bigint, key text, actor uuid, correlation text, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
DECLARE
    held datalane.usage_counters;
BEGIN
    PERFORM FROM datalane.plan_quotas q WHERE q.quota_key = quota LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    held := datalane.hold_usage_counter(workspace, quota, at, at);
    IF held.workspace_id IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO datalane.usage_ledger (workspace_id, quota_key, idempotency_key, kind, units, period_start, at, recorded_at, actor_id, correlation_id)
    VALUES (workspace, quota, key, 'metered', units, held.period_start, greatest(at, held.rolled_to + interval '1 microsecond'),
            clock_timestamp(), actor, correlation)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        UPDATE datalane.usage_counters c
        SET consumed_units = c.consumed_units + units, last_increment_at = at, last_increment_correlation_id = correlation,
            counter_version = c.counter_version + 1
        WHERE c.workspace_id = workspace AND c.quota_key = quota AND c.period_start = held.period_start;
        IF held.consumed_units + units >= held.mark_units THEN
            PERFORM datalane.tell_of_usage(workspace, quota, held.period_start, false, actor, correlation, at);
        END IF;
    END IF;
END $$;

REVOKE ALL ON FUNCTION
    datalane.first_moment(timestamp, text), datalane.usage_period(text, text, timestamptz), datalane.usage_mark(bigint, bigint, integer[]), datalane.check_use(bigint, text),
    datalane.close_usage_period(uuid, text, timestamptz, timestamptz), datalane.roll_usage_counter(uuid, text, timestamptz),
    datalane.hold_usage_counter(uuid, text, timestamptz, timestamptz), datalane.tell_of_usage(uuid, text, timestamptz, boolean, uuid, text, timestamptz),
    datalane.usage_retry_at(datalane.usage_counters, bigint), datalane.usage_replayed(uuid, text, text, bigint),
    datalane.no_such_quota(uuid, text, timestamptz), datalane.consume(text, bigint, text, timestamptz),
    datalane.consume_as(uuid, uuid, text, text, text, text, bigint, text),
    datalane.consume_closely(uuid, uuid, text, text, bigint, text, timestamptz, boolean),
    datalane.consume_sold(text[], bigint[], text, timestamptz), datalane.consume_batch(text, bigint[], text[], uuid[], text[]),
    datalane.reserve_usage(text, bigint, text, interval, timestamptz), datalane.commit_usage(text, text, bigint, timestamptz),
    datalane.hold_reserved(uuid, text, text, timestamptz), datalane.release_usage(text, text, timestamptz),
    datalane.settle_reservation(uuid, text, text, text, timestamptz),
    datalane.meter_usage(uuid, text, bigint, text, uuid, text, timestamptz)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    datalane.consume(text, bigint, text, timestamptz), datalane.consume_sold(text[], bigint[], text, timestamptz),
    datalane.consume_batch(text, bigint[], text[], uuid[], text[]), datalane.reserve_usage(text, bigint, text, interval, timestamptz),
    datalane.commit_usage(text, text, bigint, timestamptz), datalane.release_usage(text, text, timestamptz)
    TO datalane_app;
GRANT EXECUTE ON FUNCTION datalane.consume_as(uuid, uuid, text, text, text, text, bigint, text) TO datalane_login;

SET LOCAL ROLE datalane_owner;
