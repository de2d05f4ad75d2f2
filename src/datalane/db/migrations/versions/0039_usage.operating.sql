SET LOCAL ROLE datalane_definer;

-- What a period holds by its ledger and its reservations. A rolling one holds what is after `rolled_to`.
CREATE FUNCTION datalane.usage_sums(held datalane.usage_counters) RETURNS TABLE (consumed bigint, reserved bigint) LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT (SELECT coalesce(sum(l.units), 0)::bigint FROM datalane.usage_ledger l
            WHERE l.workspace_id = held.workspace_id AND l.quota_key = held.quota_key AND l.period_start = held.period_start
              AND l.at > '-infinity' AND (held.rolled_to IS NULL OR l.at > held.rolled_to)),
           (SELECT coalesce(sum(r.units), 0)::bigint FROM datalane.usage_reservations r
            WHERE r.workspace_id = held.workspace_id AND r.quota_key = held.quota_key AND r.period_start = held.period_start AND r.status = 'open')
$$;

-- What the quotas of the workspace of the context stand at, or one of them: what `consume` would find at that moment, without changing
-- anything. A rolling window shows what is in it.
CREATE FUNCTION datalane.usage_at(at timestamptz, only_key text DEFAULT NULL)
RETURNS TABLE (quota_key text, in_window text, seconds integer, time_zone text, period_start timestamptz, period_end timestamptz,
               consumed_units bigint, reserved_units bigint, limit_units bigint, plan_id text, plan_version integer, override_source text,
               recovering boolean, last_increment_at timestamptz, last_increment_correlation_id text, counter_version bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    workspace constant uuid := app.workspace_id();
BEGIN
    PERFORM datalane.require_rank(1);
    RETURN QUERY
        SELECT q.quota_key, q.in_window, q.seconds, q.time_zone,
               CASE WHEN q.seconds IS NULL THEN p.starts_at ELSE usage_at.at - make_interval(secs => q.seconds) END, nullif(p.ends_at, 'infinity'),
               coalesce(CASE
                   WHEN q.seconds IS NULL THEN c.consumed_units
                   WHEN c.rolled_to <= usage_at.at - make_interval(secs => q.seconds) THEN c.consumed_units - (
                       SELECT coalesce(sum(l.units), 0)::bigint FROM datalane.usage_ledger l
                       WHERE l.workspace_id = workspace AND l.quota_key = q.quota_key AND l.period_start = '-infinity'
                         AND l.at > '-infinity' AND l.at > c.rolled_to AND l.at <= usage_at.at - make_interval(secs => q.seconds))
                   ELSE (
                       SELECT sum(l.units)::bigint FROM datalane.usage_ledger l
                       WHERE l.workspace_id = workspace AND l.quota_key = q.quota_key AND l.period_start = '-infinity'
                         AND l.at > '-infinity' AND l.at > usage_at.at - make_interval(secs => q.seconds)) END, 0),
               CASE WHEN c.reserved_units > 0 THEN c.reserved_units - (
                   SELECT coalesce(sum(r.units), 0)::bigint FROM datalane.usage_reservations r
                   WHERE r.workspace_id = workspace AND r.quota_key = q.quota_key AND r.period_start = c.period_start
                     AND r.status = 'open' AND r.expires_at <= usage_at.at) ELSE 0 END,
               q.limit_units, q.plan_id, q.plan_version, q.override_source, q.recovering,
               c.last_increment_at, c.last_increment_correlation_id, coalesce(c.counter_version, 0)
        FROM datalane.quotas_in(workspace, usage_at.at, only_key) AS q
        CROSS JOIN LATERAL datalane.usage_period(q.in_window, q.time_zone, usage_at.at) AS p
        LEFT JOIN datalane.usage_counters c ON c.workspace_id = workspace AND c.quota_key = q.quota_key AND c.period_start = p.starts_at
        ORDER BY q.quota_key;
END $$;

-- What a key was used for. What was taken back from a rolling window has a row for each use that it was taken from.
CREATE FUNCTION datalane.usage_told(workspace uuid, quota text, key text) RETURNS TABLE (kind text, units bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    place integer := 1; part bigint;
BEGIN
    SELECT l.kind, l.units INTO kind, units FROM datalane.usage_ledger l
    WHERE l.workspace_id = workspace AND l.quota_key = quota AND l.idempotency_key = key;
    WHILE FOUND LOOP
        units := units + coalesce(part, 0);
        place := place + 1;
        SELECT l.units INTO part FROM datalane.usage_ledger l
        WHERE l.workspace_id = workspace AND l.quota_key = quota AND l.idempotency_key = key || E'\x1f' || place;
    END LOOP;
    IF kind IS NOT NULL THEN
        RETURN NEXT;
    END IF;
END $$;

-- Correct what was counted, or add what was missed: signed units at the moment at which they were used, or now. Once by its key. It may
-- pass the limit, as what happened has happened, and cannot take back more than was used. Answers what the period holds then.
CREATE FUNCTION datalane.correct_usage(
    quota_key text, units bigint, idempotency_key text, reason text, occurred_at timestamptz DEFAULT NULL, now timestamptz DEFAULT NULL)
RETURNS TABLE (outcome text, consumed_units bigint, reserved_units bigint, limit_units bigint, period_start timestamptz, period_end timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at constant timestamptz := coalesce(now, clock_timestamp());
    asked constant timestamptz := coalesce(occurred_at, at); held datalane.usage_counters; known record; counts boolean; total bigint;
BEGIN
    PERFORM datalane.require_rank(5);
    IF units IS NULL OR units = 0 OR units NOT BETWEEN -1000000000000000 AND 1000000000000000 THEN
        RAISE EXCEPTION 'a correction has 1 to 10^15 units, with a sign, not %', units USING ERRCODE = 'DL400';
    ELSIF asked > at OR asked < at - interval '400 days' THEN
        RAISE EXCEPTION 'a correction is of the last 400 days, and not of what is to come' USING ERRCODE = 'DL400';
    END IF;
    PERFORM datalane.check_use(1, idempotency_key);
    PERFORM datalane.check_agreed('operator', reason);
    held := datalane.hold_usage_counter(workspace, quota_key, at, asked);
    IF held.workspace_id IS NULL THEN
        PERFORM datalane.no_such_quota(workspace, quota_key, at);
    END IF;
    SELECT t.kind, t.units INTO known FROM datalane.usage_told(workspace, quota_key, idempotency_key) AS t;
    IF FOUND AND (known.kind <> 'correction' OR known.units <> units) THEN
        RAISE EXCEPTION 'the idempotency key was used for something else: % of % units', known.kind, known.units USING ERRCODE = 'DL409';
    ELSIF FOUND THEN
        outcome := 'replayed';
    ELSE
        counts := held.rolled_to IS NULL OR asked > held.rolled_to;
        total := held.consumed_units + CASE WHEN counts THEN units ELSE 0 END;
        IF total < 0 OR units < 0 AND NOT counts THEN
            RAISE EXCEPTION 'only % units were used in that period', CASE WHEN counts THEN held.consumed_units ELSE 0 END USING ERRCODE = 'DL409';
        ELSIF held.rolled_to IS NULL OR units > 0 THEN
            INSERT INTO datalane.usage_ledger (workspace_id, quota_key, idempotency_key, kind, units, period_start, at, recorded_at, actor_id,
                                               correlation_id, reason)
            VALUES (workspace, quota_key, idempotency_key, 'correction', units, held.period_start, asked, clock_timestamp(), app.actor_id(),
                    app.correlation_id(), reason);
        ELSE
            -- What is taken back from a rolling window leaves it with the uses that it was taken from, the last ones first.
            INSERT INTO datalane.usage_ledger (workspace_id, quota_key, idempotency_key, kind, units, period_start, at, recorded_at, actor_id,
                                               correlation_id, reason)
            SELECT workspace, quota_key, idempotency_key || CASE WHEN t.place = 1 THEN '' ELSE E'\x1f' || t.place END, 'correction',
                   -least(t.used, -units - t.before), held.period_start, t.at, clock_timestamp(), app.actor_id(), app.correlation_id(), reason
            FROM (
                SELECT u.at, u.used, row_number() OVER (ORDER BY u.at DESC) AS place,
                       coalesce(sum(u.used) OVER (ORDER BY u.at DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
                FROM (
                    SELECT l.at, sum(l.units)::bigint AS used FROM datalane.usage_ledger l
                    WHERE l.workspace_id = workspace AND l.quota_key = quota_key AND l.period_start = '-infinity'
                      AND l.at > '-infinity' AND l.at > held.rolled_to
                    GROUP BY l.at HAVING sum(l.units) > 0
                ) AS u
            ) AS t WHERE t.before < -units;
        END IF;
        UPDATE datalane.usage_counters c
        SET consumed_units = total, counter_version = c.counter_version + 1,
            mark_units = CASE WHEN units < 0 THEN datalane.usage_mark(total, c.limit_units, c.warn_at) ELSE c.mark_units END,
            limit_reached_at = CASE WHEN total + c.reserved_units >= c.limit_units THEN c.limit_reached_at END
        WHERE c.workspace_id = workspace AND c.quota_key = quota_key AND c.period_start = held.period_start;
        PERFORM datalane.audit_for(
            workspace, app.actor_id(), app.correlation_id(), 'usage.corrected', 'usage_counter', quota_key,
            jsonb_build_object('consumed_units', held.consumed_units),
            jsonb_build_object('consumed_units', total, 'units', units, 'occurred_at', asked, 'reason', reason), at);
        IF units > 0 AND total >= held.mark_units AND held.period_end > at THEN
            PERFORM datalane.tell_of_usage(workspace, quota_key, held.period_start, false, app.actor_id(), app.correlation_id(), at);
        END IF;
        held.consumed_units := total;
        outcome := 'accepted';
    END IF;
    consumed_units := held.consumed_units; reserved_units := held.reserved_units; limit_units := held.limit_units;
    period_start := nullif(held.period_start, '-infinity'); period_end := nullif(held.period_end, 'infinity');
    RETURN NEXT;
END $$;

-- Begin a quota's period again from nothing: a correction of all that was used. Answers how much that was.
CREATE FUNCTION datalane.reset_usage(quota_key text, idempotency_key text, reason text, now timestamptz DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at constant timestamptz := coalesce(now, clock_timestamp());
    held datalane.usage_counters; known bigint;
BEGIN
    PERFORM datalane.require_rank(5);
    held := datalane.hold_usage_counter(workspace, quota_key, at, at);
    IF held.workspace_id IS NULL THEN
        PERFORM datalane.no_such_quota(workspace, quota_key, at);
    END IF;
    SELECT t.units INTO known FROM datalane.usage_told(workspace, quota_key, idempotency_key) AS t WHERE t.kind = 'correction';
    IF FOUND THEN
        RETURN -known;
    ELSIF held.consumed_units > 0 THEN
        PERFORM FROM datalane.correct_usage(quota_key, -held.consumed_units, idempotency_key, reason, NULL, at);
    ELSE
        -- Nothing to take back is remembered too, so that the key takes back nothing later.
        PERFORM datalane.check_use(1, idempotency_key);
        PERFORM datalane.check_agreed('operator', reason);
        INSERT INTO datalane.usage_ledger (workspace_id, quota_key, idempotency_key, kind, units, period_start, at, recorded_at, actor_id,
                                           correlation_id, reason)
        VALUES (workspace, quota_key, idempotency_key, 'correction', 0, held.period_start, greatest(at, held.rolled_to + interval '1 microsecond'),
                clock_timestamp(), app.actor_id(), app.correlation_id(), reason);
    END IF;
    RETURN held.consumed_units;
END $$;

-- Counters that are not what their ledger and reservations say, in the workspace of the context: none, unless somebody wrote past the verbs.
CREATE FUNCTION datalane.usage_differences()
RETURNS TABLE (quota_key text, period_start timestamptz, consumed_units bigint, ledger_units bigint, reserved_units bigint, open_units bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    PERFORM datalane.require_rank(1);
    RETURN QUERY
        SELECT c.quota_key, nullif(c.period_start, '-infinity'), c.consumed_units, s.consumed, c.reserved_units, s.reserved
        FROM datalane.usage_counters c CROSS JOIN LATERAL datalane.usage_sums(c) AS s
        WHERE c.workspace_id = app.workspace_id() AND (c.consumed_units <> s.consumed OR c.reserved_units <> s.reserved)
        ORDER BY c.quota_key, c.period_start;
END $$;

-- Make the counters of a quota what their ledger says again. Answers how many were not.
CREATE FUNCTION datalane.repair_usage(quota_key text, reason text, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); held datalane.usage_counters; sums record; mended integer := 0;
BEGIN
    PERFORM datalane.require_rank(5);
    PERFORM datalane.check_agreed('operator', reason);
    FOR held IN
        SELECT c.* FROM datalane.usage_counters c WHERE c.workspace_id = workspace AND c.quota_key = quota_key ORDER BY c.period_start FOR UPDATE
    LOOP
        SELECT s.consumed, s.reserved INTO sums FROM datalane.usage_sums(held) AS s;
        CONTINUE WHEN sums.consumed = held.consumed_units AND sums.reserved = held.reserved_units;
        UPDATE datalane.usage_counters c
        SET consumed_units = sums.consumed, reserved_units = sums.reserved, counter_version = c.counter_version + 1,
            mark_units = datalane.usage_mark(sums.consumed, c.limit_units, c.warn_at),
            limit_reached_at = CASE WHEN sums.consumed + sums.reserved >= c.limit_units THEN c.limit_reached_at END
        WHERE c.workspace_id = workspace AND c.quota_key = quota_key AND c.period_start = held.period_start;
        PERFORM datalane.audit_for(
            workspace, app.actor_id(), app.correlation_id(), 'usage.repaired', 'usage_counter', quota_key,
            jsonb_build_object('consumed_units', held.consumed_units, 'reserved_units', held.reserved_units),
            jsonb_build_object('consumed_units', sums.consumed, 'reserved_units', sums.reserved, 'reason', reason), coalesce(now, clock_timestamp()));
        mended := mended + 1;
    END LOOP;
    RETURN mended;
END $$;

-- Close the periods that are over, of all workspaces, so many at most, and leave a moment to uses that came in time. Answers how many.
CREATE FUNCTION datalane.close_usage_periods(most integer, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    over record; at constant timestamptz := coalesce(now, clock_timestamp()); closed integer := 0;
BEGIN
    FOR over IN
        SELECT c.workspace_id, c.quota_key, c.period_start FROM datalane.usage_counters c
        WHERE c.closed_at IS NULL AND c.period_end <= at - interval '5 seconds' ORDER BY c.period_end LIMIT most FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM datalane.close_usage_period(over.workspace_id, over.quota_key, over.period_start, at);
        closed := closed + 1;
    END LOOP;
    RETURN closed;
END $$;

-- Give back what nobody has settled in time, of all workspaces, so many at most. Answers how many.
CREATE FUNCTION datalane.expire_usage_reservations(most integer, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    late record; at constant timestamptz := coalesce(now, clock_timestamp()); expired integer := 0;
BEGIN
    FOR late IN
        -- The counter comes before its reservations, as for everybody else. Whoever holds one now gives them back, as does its next use.
        SELECT r.workspace_id, r.quota_key, r.idempotency_key FROM datalane.usage_reservations r
        JOIN datalane.usage_counters c ON c.workspace_id = r.workspace_id AND c.quota_key = r.quota_key AND c.period_start = r.period_start
        WHERE r.status = 'open' AND r.expires_at <= at ORDER BY r.expires_at LIMIT most FOR UPDATE OF c SKIP LOCKED
    LOOP
        IF datalane.settle_reservation(late.workspace_id, late.quota_key, late.idempotency_key, 'expired', at) THEN
            expired := expired + 1;
        END IF;
    END LOOP;
    RETURN expired;
END $$;

-- Forget closed periods with their ledger, and what has left rolling windows long since; so many periods, or rows of windows, at most.
-- Answers how many.
CREATE FUNCTION datalane.forget_usage(kept interval, most integer, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    gone record; before constant timestamptz := coalesce(now, clock_timestamp()) - kept; forgotten integer := 0; rows integer;
BEGIN
    FOR gone IN
        SELECT c.workspace_id, c.quota_key, c.period_start FROM datalane.usage_counters c
        WHERE c.closed_at < before AND c.period_end < before ORDER BY c.period_end LIMIT most FOR UPDATE SKIP LOCKED
    LOOP
        DELETE FROM datalane.usage_ledger l
        WHERE l.workspace_id = gone.workspace_id AND l.quota_key = gone.quota_key AND l.period_start = gone.period_start
          AND l.at > '-infinity';
        DELETE FROM datalane.usage_reservations r
        WHERE r.workspace_id = gone.workspace_id AND r.quota_key = gone.quota_key AND r.period_start = gone.period_start;
        DELETE FROM datalane.usage_counters c
        WHERE c.workspace_id = gone.workspace_id AND c.quota_key = gone.quota_key AND c.period_start = gone.period_start;
        forgotten := forgotten + 1;
    END LOOP;
    DELETE FROM datalane.usage_ledger l USING (
        SELECT o.workspace_id, o.quota_key, o.idempotency_key
        FROM datalane.usage_counters c JOIN datalane.usage_ledger o
            ON o.workspace_id = c.workspace_id AND o.quota_key = c.quota_key AND o.period_start = c.period_start
                AND o.at > '-infinity' AND o.at <= least(c.rolled_to, before)
        WHERE c.period_start = '-infinity' LIMIT most
    ) AS old WHERE l.workspace_id = old.workspace_id AND l.quota_key = old.quota_key AND l.idempotency_key = old.idempotency_key;
    GET DIAGNOSTICS rows = ROW_COUNT;
    forgotten := forgotten + rows;
    DELETE FROM datalane.usage_reservations r USING (
        SELECT o.workspace_id, o.quota_key, o.idempotency_key FROM datalane.usage_reservations o
        WHERE o.period_start = '-infinity' AND o.status <> 'open' AND o.settled_at < before LIMIT most
    ) AS old WHERE r.workspace_id = old.workspace_id AND r.quota_key = old.quota_key AND r.idempotency_key = old.idempotency_key;
    GET DIAGNOSTICS rows = ROW_COUNT;
    RETURN forgotten + rows;
END $$;

-- As before; the tokens are also counted against the quota of the workspace's plan, if it has one.
CREATE OR REPLACE FUNCTION datalane.write_agent_steps(workspace uuid, run uuid, priced_at timestamptz, steps jsonb, at timestamptz)
RETURNS TABLE (ordinal integer, cost numeric) LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    told jsonb := steps; before integer; money text; sums record; spent record;
BEGIN
    PERFORM datalane.check_agent_versions(workspace, v.prompt, v.model) FROM (
        SELECT DISTINCT (s->>'prompt_version_id')::uuid, (s->>'model_version_id')::uuid FROM jsonb_array_elements(told) AS s
    ) AS v (prompt, model);
    SELECT r.entries, r.currency INTO before, money FROM datalane.agent_runs r WHERE r.workspace_id = workspace AND r.run_id = run;
    WITH stored AS (
        INSERT INTO datalane.agent_steps (
            workspace_id, run_id, ordinal, kind, name, attempt, prompt_version_id, model_version_id, input_tokens,
            cached_input_tokens, output_tokens, reasoning_tokens, price_version_id, cost, input, output, error_class,
            error_message, source_id, started_at, ended_at, recorded_at)
        SELECT workspace, run, before + x.place, x.kind, x.name, coalesce(x.attempt, 1), x.prompt_version_id, x.model_version_id,
               x.input_tokens, x.cached_input_tokens, x.output_tokens, x.reasoning_tokens, p.price_version_id,
               datalane.agent_cost(x.input_tokens, x.cached_input_tokens, x.output_tokens, x.reasoning_tokens, p.input_per_million,
                                   p.cached_input_per_million, p.output_per_million, p.reasoning_per_million),
               x.input, x.output, x.error_class, left(x.error_message, 2000), x.source_id, t.started_at, t.ended_at, at
        FROM ROWS FROM (jsonb_to_recordset(told) AS (
            kind text, name text, attempt integer, prompt_version_id uuid, model_version_id uuid, input_tokens bigint,
            cached_input_tokens bigint, output_tokens bigint, reasoning_tokens bigint, input jsonb, output jsonb,
            error_class text, error_message text, source_id text, seconds double precision, started_at timestamptz,
            ended_at timestamptz)) WITH ORDINALITY AS x (
                kind, name, attempt, prompt_version_id, model_version_id, input_tokens, cached_input_tokens, output_tokens,
                reasoning_tokens, input, output, error_class, error_message, source_id, seconds, started_at, ended_at, place)
        CROSS JOIN LATERAL (VALUES (
            coalesce(x.started_at, coalesce(x.ended_at, at) - make_interval(secs => coalesce(x.seconds, 0))),
            coalesce(x.ended_at, at))) AS t (started_at, ended_at)
        LEFT JOIN LATERAL (
            SELECT p.* FROM datalane.agent_prices p
            WHERE p.workspace_id = workspace AND p.model_version_id = x.model_version_id
              AND p.effective_at <= coalesce(priced_at, least(t.started_at, at))
            ORDER BY p.effective_at DESC LIMIT 1) p ON true
        ORDER BY x.place
        ON CONFLICT ON CONSTRAINT one_step_per_source_id DO NOTHING
        RETURNING ordinal, kind, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, price_version_id, cost
    ), priced AS (
        SELECT stored.*, p.currency FROM stored LEFT JOIN datalane.agent_prices p
            ON p.workspace_id = workspace AND p.price_version_id = stored.price_version_id
    )
    SELECT array_agg(s.ordinal ORDER BY s.ordinal) AS ordinals, array_agg(s.cost ORDER BY s.ordinal) AS costs,
           array_agg(s.currency ORDER BY s.ordinal) AS currencies, max(s.ordinal) AS entries, min(m.currency) AS currency,
           count(*) FILTER (WHERE s.kind = 'model') AS model_steps, sum(s.input_tokens) AS input_tokens,
           sum(s.cached_input_tokens) AS cached_input_tokens, sum(s.output_tokens) AS output_tokens,
           sum(s.reasoning_tokens) AS reasoning_tokens,
           count(*) FILTER (WHERE s.kind = 'model' AND (s.input_tokens IS NULL OR s.output_tokens IS NULL)) AS unmeasured_steps,
           sum(s.cost) FILTER (WHERE s.currency = coalesce(money, m.currency)) AS cost,
           count(*) FILTER (WHERE s.kind = 'model' AND (s.cost IS NULL OR s.currency <> coalesce(money, m.currency))) AS unpriced_steps
    INTO sums FROM priced s LEFT JOIN (
        SELECT priced.currency FROM priced WHERE priced.currency IS NOT NULL ORDER BY priced.ordinal LIMIT 1) AS m ON true;
    UPDATE datalane.agent_runs r
    SET entries = coalesce(sums.entries, r.entries), currency = coalesce(r.currency, sums.currency),
        model_steps = r.model_steps + sums.model_steps,
        input_tokens = coalesce(r.input_tokens + sums.input_tokens, sums.input_tokens, r.input_tokens),
        cached_input_tokens = coalesce(r.cached_input_tokens + sums.cached_input_tokens, sums.cached_input_tokens, r.cached_input_tokens),
        output_tokens = coalesce(r.output_tokens + sums.output_tokens, sums.output_tokens, r.output_tokens),
        reasoning_tokens = coalesce(r.reasoning_tokens + sums.reasoning_tokens, sums.reasoning_tokens, r.reasoning_tokens),
        unmeasured_steps = r.unmeasured_steps + sums.unmeasured_steps, unpriced_steps = r.unpriced_steps + sums.unpriced_steps,
        cost = coalesce(r.cost + sums.cost, sums.cost, r.cost)
    WHERE r.workspace_id = workspace AND r.run_id = run;
    IF coalesce(sums.input_tokens, 0) + coalesce(sums.output_tokens, 0) > 0 THEN
        PERFORM datalane.count_agent_usage(workspace, 'agent.tokens', 'tokens',
                                           coalesce(sums.input_tokens, 0) + coalesce(sums.output_tokens, 0), at);
        PERFORM datalane.meter_usage(workspace, 'agent.tokens', (coalesce(sums.input_tokens, 0) + coalesce(sums.output_tokens, 0))::bigint,
                                     'lane:run:' || run || ':' || sums.ordinals[1], app.actor_id(), app.correlation_id(), clock_timestamp());
    END IF;
    FOR spent IN
        SELECT c.currency, sum(c.cost) AS cost FROM unnest(sums.currencies, sums.costs) AS c (currency, cost)
        GROUP BY c.currency HAVING sum(c.cost) > 0 ORDER BY c.currency
    LOOP
        PERFORM datalane.count_agent_usage(workspace, 'agent.cost', spent.currency, spent.cost, at);
    END LOOP;
    RETURN QUERY SELECT s.ordinal, s.cost FROM unnest(sums.ordinals, sums.costs) AS s (ordinal, cost);
END $$;

REVOKE ALL ON FUNCTION
    datalane.usage_sums(datalane.usage_counters), datalane.usage_told(uuid, text, text), datalane.usage_at(timestamptz, text),
    datalane.correct_usage(text, bigint, text, text, timestamptz, timestamptz), datalane.reset_usage(text, text, text, timestamptz),
    datalane.usage_differences(), datalane.repair_usage(text, text, timestamptz), datalane.close_usage_periods(integer, timestamptz),
    datalane.expire_usage_reservations(integer, timestamptz), datalane.forget_usage(interval, integer, timestamptz)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    datalane.usage_at(timestamptz, text), datalane.correct_usage(text, bigint, text, text, timestamptz, timestamptz),
    datalane.reset_usage(text, text, text, timestamptz), datalane.usage_differences(), datalane.repair_usage(text, text, timestamptz)
    TO datalane_app;
GRANT EXECUTE ON FUNCTION
    datalane.close_usage_periods(integer, timestamptz), datalane.expire_usage_reservations(integer, timestamptz),
    datalane.forget_usage(interval, integer, timestamptz)
    TO datalane_maintenance;

SET LOCAL ROLE datalane_owner;
