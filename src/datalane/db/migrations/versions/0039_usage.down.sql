SET LOCAL ROLE datalane_definer;
-- Steps as the release before writes them.
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
    END IF;
    FOR spent IN
        SELECT c.currency, sum(c.cost) AS cost FROM unnest(sums.currencies, sums.costs) AS c (currency, cost)
        GROUP BY c.currency HAVING sum(c.cost) > 0 ORDER BY c.currency
    LOOP
        PERFORM datalane.count_agent_usage(workspace, 'agent.cost', spent.currency, spent.cost, at);
    END LOOP;
    RETURN QUERY SELECT s.ordinal, s.cost FROM unnest(sums.ordinals, sums.costs) AS s (ordinal, cost);
END $$;
DROP FUNCTION datalane.forget_usage;
DROP FUNCTION datalane.expire_usage_reservations;
DROP FUNCTION datalane.close_usage_periods;
DROP FUNCTION datalane.repair_usage;
DROP FUNCTION datalane.usage_differences;
DROP FUNCTION datalane.reset_usage;
DROP FUNCTION datalane.correct_usage;
DROP FUNCTION datalane.usage_at;
DROP FUNCTION datalane.usage_told;
DROP FUNCTION datalane.usage_sums;
DROP FUNCTION datalane.meter_usage;
DROP FUNCTION datalane.settle_reservation;
DROP FUNCTION datalane.release_usage;
DROP FUNCTION datalane.hold_reserved;
DROP FUNCTION datalane.commit_usage;
DROP FUNCTION datalane.reserve_usage;
DROP FUNCTION datalane.consume_sold;
DROP FUNCTION datalane.consume_closely;
DROP FUNCTION datalane.consume_batch;
DROP FUNCTION datalane.consume_as;
DROP FUNCTION datalane.consume;
DROP FUNCTION datalane.no_such_quota;
DROP FUNCTION datalane.usage_replayed;
DROP FUNCTION datalane.usage_retry_at;
DROP FUNCTION datalane.tell_of_usage;
DROP FUNCTION datalane.hold_usage_counter;
DROP FUNCTION datalane.roll_usage_counter;
DROP FUNCTION datalane.close_usage_period;
DROP FUNCTION datalane.check_use;
DROP FUNCTION datalane.usage_mark;
DROP FUNCTION datalane.usage_period;
DROP FUNCTION datalane.first_moment;
SET LOCAL ROLE datalane_owner;
DROP TABLE datalane.usage_reservations;
DROP TABLE datalane.usage_ledger;
DROP TABLE datalane.usage_counters;
