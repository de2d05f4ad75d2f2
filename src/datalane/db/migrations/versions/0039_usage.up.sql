-- What a workspace has used of a quota in a period. A rolling window has one counter, for ever, which holds what is in the ledger after
-- `rolled_to`. The limit is that of the plan and what was agreed beside it, as of `entitlement_version`, until `limit_until`. Uses go straight
-- to it until `straight_until`, where nothing but the limit and their keys has to be looked at: of a quota's counters one at most says a
-- moment that is still to come. `mark_units` is where somebody is to be told next. Much room is left on a page: a counter is written in place. There are no constraints, since each is
-- prepared anew at every use, and took more time than the use itself: the verbs alone write here, and they check what they are given.
CREATE TABLE datalane.usage_counters (
    workspace_id uuid NOT NULL,
    quota_key text NOT NULL,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    consumed_units bigint NOT NULL,
    reserved_units bigint NOT NULL,
    limit_units bigint,
    rolling_seconds integer,
    rolled_to timestamptz,
    warn_at integer[] NOT NULL,
    mark_units bigint,
    limit_until timestamptz NOT NULL,
    straight_until timestamptz NOT NULL,
    entitlement_version bigint NOT NULL,
    plan_id text NOT NULL,
    plan_version integer NOT NULL,
    recovering boolean NOT NULL,
    limit_reached_at timestamptz,
    warned_at timestamptz,
    last_increment_at timestamptz,
    last_increment_correlation_id text,
    counter_version bigint NOT NULL,
    closed_at timestamptz,
    PRIMARY KEY (workspace_id, quota_key, period_start)
) WITH (fillfactor = 50);
CREATE INDEX usage_counters_open ON datalane.usage_counters (workspace_id, quota_key) WHERE closed_at IS NULL;
CREATE INDEX usage_counters_to_close ON datalane.usage_counters (period_end) WHERE closed_at IS NULL;
SELECT app.protect('datalane.usage_counters', 'log', verbs => 'SELECT, INSERT, UPDATE, DELETE', operator_columns =>
    '{workspace_id,quota_key,period_start,period_end,consumed_units,reserved_units,limit_units,plan_id,plan_version,recovering,limit_reached_at,last_increment_at,counter_version,closed_at}');

-- Each use and each correction, once: the idempotency key says which. `units` are signed. The index by time holds every row; that it says
-- which keeps it from those who look for a key: until a table is analyzed both indexes look alike, and the wrong one reads a whole period.
CREATE TABLE datalane.usage_ledger (
    workspace_id uuid NOT NULL,
    quota_key text NOT NULL,
    idempotency_key text NOT NULL,
    kind text NOT NULL,
    units bigint NOT NULL,
    period_start timestamptz NOT NULL,
    at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    actor_id uuid NOT NULL,
    correlation_id text,
    reason text,
    PRIMARY KEY (workspace_id, quota_key, idempotency_key)
);
CREATE INDEX usage_ledger_by_time ON datalane.usage_ledger (workspace_id, quota_key, period_start, at) INCLUDE (units) WHERE at > '-infinity';
SELECT app.protect('datalane.usage_ledger', 'log', verbs => 'SELECT, INSERT, DELETE');

-- What is set aside for work whose size is not known yet.
CREATE TABLE datalane.usage_reservations (
    workspace_id uuid NOT NULL,
    quota_key text NOT NULL,
    idempotency_key text NOT NULL CONSTRAINT keys_are_short CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    units bigint NOT NULL CONSTRAINT something_is_reserved CHECK (units > 0),
    period_start timestamptz NOT NULL,
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('open', 'committed', 'released', 'expired')),
    reserved_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    settled_at timestamptz,
    actor_id uuid NOT NULL,
    correlation_id text,
    CONSTRAINT what_is_open_is_not_settled CHECK ((status = 'open') = (settled_at IS NULL)),
    PRIMARY KEY (workspace_id, quota_key, idempotency_key)
);
CREATE INDEX usage_reservations_to_expire ON datalane.usage_reservations (expires_at) WHERE status = 'open';
CREATE INDEX usage_reservations_by_period ON datalane.usage_reservations (workspace_id, quota_key, period_start) WHERE status = 'open';
SELECT app.protect('datalane.usage_reservations', 'log', verbs => 'SELECT, INSERT, UPDATE, DELETE');
