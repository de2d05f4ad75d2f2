-- What a workspace allows itself to use of a meter in each day or month of UTC; 0 is nothing at all. The unit of costs is a currency.
CREATE TABLE datalane.agent_budgets (
    workspace_id uuid NOT NULL,
    meter text NOT NULL CONSTRAINT meters_have_plain_names CHECK (meter ~ '^[a-z][a-z0-9_.-]{0,63}$'),
    period text NOT NULL CONSTRAINT period_is_known CHECK (period IN ('day', 'month')),
    most numeric NOT NULL CONSTRAINT budgets_are_bounded CHECK (most BETWEEN 0 AND 1000000000000000000),
    unit text NOT NULL CONSTRAINT units_are_short CHECK (length(unit) BETWEEN 1 AND 40),
    updated_at timestamptz NOT NULL,
    updated_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, meter, period)
);
SELECT app.protect('datalane.agent_budgets', 'managed');

-- What steps have used in a day of UTC, by its unit: tokens, and costs by their currencies. Who counts adds to a row that nobody holds, or
-- to a new one, so that nobody waits for anybody and the sum of the rows is exact.
CREATE TABLE datalane.agent_usage (
    workspace_id uuid NOT NULL,
    meter text NOT NULL CONSTRAINT meters_have_plain_names CHECK (meter ~ '^[a-z][a-z0-9_.-]{0,63}$'),
    unit text NOT NULL CONSTRAINT units_are_short CHECK (length(unit) BETWEEN 1 AND 40),
    day date NOT NULL,
    slot uuid NOT NULL,
    used numeric NOT NULL CONSTRAINT what_was_used_is_counted CHECK (used > 0),
    PRIMARY KEY (workspace_id, meter, unit, day, slot)
) WITH (fillfactor = 50);
SELECT app.protect('datalane.agent_usage', 'log', verbs => 'SELECT, INSERT, UPDATE');

SET LOCAL ROLE datalane_definer;

-- Count what the steps of a run after the place `before` have used. What is not known of a step counts as nothing.
CREATE FUNCTION datalane.count_agent_usage(workspace uuid, run uuid, before integer, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    told record; free uuid; today constant date := (at AT TIME ZONE 'UTC')::date;
BEGIN
    FOR told IN
        SELECT 'agent.tokens' AS meter, 'tokens' AS unit,
               sum(coalesce(s.input_tokens, 0)::numeric + coalesce(s.output_tokens, 0)) AS used
        FROM datalane.agent_steps s WHERE s.workspace_id = workspace AND s.run_id = run AND s.ordinal > before
        UNION ALL
        SELECT 'agent.cost', p.currency, sum(s.cost)
        FROM datalane.agent_steps s JOIN datalane.agent_prices p
            ON p.workspace_id = workspace AND p.price_version_id = s.price_version_id
        WHERE s.workspace_id = workspace AND s.run_id = run AND s.ordinal > before GROUP BY p.currency
    LOOP
        CONTINUE WHEN coalesce(told.used, 0) = 0;
        SELECT u.slot INTO free FROM datalane.agent_usage u
        WHERE u.workspace_id = workspace AND u.meter = told.meter AND u.unit = told.unit AND u.day = today
        ORDER BY u.slot LIMIT 1 FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            UPDATE datalane.agent_usage u SET used = u.used + told.used
            WHERE u.workspace_id = workspace AND u.meter = told.meter AND u.unit = told.unit AND u.day = today
              AND u.slot = free;
        ELSE
            INSERT INTO datalane.agent_usage (workspace_id, meter, unit, day, slot, used)
            VALUES (workspace, told.meter, told.unit, today, app.uuid7(), told.used);
        END IF;
    END LOOP;
END $$;

-- Storing steps is one thing, and counting what they used follows it, whoever records them.
ALTER FUNCTION datalane.write_agent_steps(uuid, uuid, timestamptz, jsonb, timestamptz) RENAME TO store_agent_steps;

CREATE FUNCTION datalane.write_agent_steps(workspace uuid, run uuid, priced_at timestamptz, steps jsonb, at timestamptz)
RETURNS TABLE (ordinal integer, cost numeric) LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    before integer;
BEGIN
    SELECT r.entries INTO before FROM datalane.agent_runs r WHERE r.workspace_id = workspace AND r.run_id = run;
    RETURN QUERY SELECT s.ordinal, s.cost FROM datalane.store_agent_steps(workspace, run, priced_at, steps, at) AS s;
    PERFORM datalane.count_agent_usage(workspace, run, before, at);
END $$;

SET LOCAL ROLE datalane_owner;
