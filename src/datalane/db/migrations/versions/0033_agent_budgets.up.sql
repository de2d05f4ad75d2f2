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
