-- Subscriptions of one line share their order: an endpoint has one for each type of event that it takes.
ALTER TABLE datalane.subscriptions ADD COLUMN line uuid;

-- Where a workspace wants its events delivered. `status_reason` says why nothing is delivered now; what happens meanwhile is
-- kept. A run of failures began at `failing_since`.
CREATE TABLE datalane.webhook_endpoints (
    workspace_id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    url text NOT NULL CONSTRAINT a_url_is_short CHECK (length(url) BETWEEN 1 AND 2000),
    description text NOT NULL CONSTRAINT a_description_is_short CHECK (length(description) <= 500),
    signing text NOT NULL CONSTRAINT signing_is_known CHECK (signing IN ('hmac', 'ed25519')),
    ordered boolean NOT NULL,
    connector_id uuid,
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('enabled', 'paused', 'disabled', 'removed')),
    status_reason text CONSTRAINT status_reason_is_known
        CHECK (status_reason IN ('admin', 'gone', 'failures', 'connector_revoked')),
    failing_since timestamptz,
    failures_in_a_row integer NOT NULL DEFAULT 0,
    last_success_at timestamptz,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    created_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, endpoint_id),
    CONSTRAINT what_is_not_enabled_says_why CHECK ((status = 'enabled') = (status_reason IS NULL)),
    CONSTRAINT a_run_of_failures_has_a_beginning CHECK ((failing_since IS NULL) = (failures_in_a_row = 0))
);
SELECT app.protect('datalane.webhook_endpoints', 'managed', verbs => 'SELECT', operator_columns =>
    '{workspace_id,endpoint_id,signing,ordered,status,status_reason,failing_since,failures_in_a_row,last_success_at,created_at,updated_at}');

-- `*` is every type but the lane's own of webhooks.
CREATE TABLE datalane.webhook_endpoint_types (
    workspace_id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    event_type text NOT NULL CONSTRAINT a_type_is_short CHECK (length(event_type) BETWEEN 1 AND 200),
    PRIMARY KEY (workspace_id, endpoint_id, event_type),
    CONSTRAINT types_are_of_an_endpoint FOREIGN KEY (workspace_id, endpoint_id)
        REFERENCES datalane.webhook_endpoints (workspace_id, endpoint_id)
);
SELECT app.protect('datalane.webhook_endpoint_types', 'managed');

-- What an endpoint's deliveries are signed with, sealed: the one without an end, and while it is changed the one before.
CREATE TABLE datalane.webhook_secrets (
    workspace_id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    secret_id uuid NOT NULL,
    sealed bytea NOT NULL,
    public_key text,
    created_at timestamptz NOT NULL,
    ends_at timestamptz,
    PRIMARY KEY (workspace_id, endpoint_id, secret_id),
    CONSTRAINT secrets_are_of_an_endpoint FOREIGN KEY (workspace_id, endpoint_id)
        REFERENCES datalane.webhook_endpoints (workspace_id, endpoint_id)
);
CREATE UNIQUE INDEX one_secret_without_an_end ON datalane.webhook_secrets (workspace_id, endpoint_id) WHERE ends_at IS NULL;
SELECT app.protect('datalane.webhook_secrets', 'managed');

-- One message to one endpoint. `body` is what is signed, the same on every attempt; `message_id` is what the receiver tells
-- messages apart by, so a replay has that of its parent. `once_key` keeps the same cause from making two. What is `held` waits
-- for its endpoint's recovery. `attempt_count` also counts those whose worker was lost; `failure_count` decides what is next.
-- `causation_depth` is that of the event, which goes along with the message.
CREATE TABLE datalane.webhook_deliveries (
    workspace_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    event_id uuid,
    event_type text NOT NULL,
    subject_id text,
    message_id text NOT NULL CONSTRAINT a_message_id_is_short CHECK (length(message_id) BETWEEN 1 AND 100),
    body text NOT NULL,
    once_key text NOT NULL CONSTRAINT a_once_key_is_short CHECK (length(once_key) BETWEEN 1 AND 200),
    parent_delivery_id uuid,
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('pending', 'failed', 'delivered', 'dead_letter')),
    held boolean NOT NULL DEFAULT false,
    attempt_count integer NOT NULL DEFAULT 0,
    failure_count integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    last_error_class text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    ended_at timestamptz,
    correlation_id text NOT NULL,
    causation_depth integer NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, delivery_id),
    CONSTRAINT one_delivery_for_a_cause UNIQUE (workspace_id, endpoint_id, once_key),
    CONSTRAINT deliveries_are_to_an_endpoint FOREIGN KEY (workspace_id, endpoint_id)
        REFERENCES datalane.webhook_endpoints (workspace_id, endpoint_id),
    CONSTRAINT what_has_ended_says_when CHECK ((status IN ('delivered', 'dead_letter')) = (ended_at IS NOT NULL)),
    CONSTRAINT only_what_goes_on_is_held CHECK (NOT held OR status IN ('pending', 'failed'))
);
CREATE INDEX webhook_deliveries_by_endpoint ON datalane.webhook_deliveries (workspace_id, endpoint_id, delivery_id);
CREATE INDEX webhook_deliveries_held ON datalane.webhook_deliveries (workspace_id, endpoint_id, subject_id, delivery_id) WHERE held;
CREATE INDEX webhook_deliveries_not_delivered ON datalane.webhook_deliveries (workspace_id, status, delivery_id) WHERE status <> 'delivered';
CREATE INDEX webhook_deliveries_by_event ON datalane.webhook_deliveries (workspace_id, event_id) WHERE event_id IS NOT NULL;
CREATE INDEX webhook_deliveries_by_parent ON datalane.webhook_deliveries (workspace_id, parent_delivery_id) WHERE parent_delivery_id IS NOT NULL;
SELECT app.protect('datalane.webhook_deliveries', 'managed', verbs => 'SELECT, UPDATE, DELETE', operator_columns =>
    '{workspace_id,delivery_id,endpoint_id,event_id,event_type,status,held,attempt_count,failure_count,next_attempt_at,last_error_class,created_at,updated_at,ended_at,correlation_id}');

-- Every attempt, written before the call: one without an outcome is under way, or its worker was lost.
CREATE TABLE datalane.webhook_attempts (
    workspace_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    attempt integer NOT NULL CONSTRAINT attempts_begin_at_one CHECK (attempt > 0),
    began_at timestamptz NOT NULL,
    ended_at timestamptz,
    outcome text CONSTRAINT outcome_is_known CHECK (outcome IN ('delivered', 'failed', 'lost')),
    status_code integer,
    latency_ms double precision,
    response_excerpt text CONSTRAINT an_excerpt_is_short CHECK (octet_length(response_excerpt) <= 2048),
    error_class text,
    PRIMARY KEY (workspace_id, delivery_id, attempt),
    CONSTRAINT attempts_are_of_a_delivery FOREIGN KEY (workspace_id, delivery_id)
        REFERENCES datalane.webhook_deliveries (workspace_id, delivery_id),
    CONSTRAINT an_outcome_has_its_moment CHECK ((outcome IS NULL) = (ended_at IS NULL))
);
SELECT app.protect('datalane.webhook_attempts', 'managed', verbs => 'SELECT, DELETE');

SET LOCAL ROLE datalane_definer;

-- Deliveries that were made longer than `kept` ago and have ended or are held are forgotten with their attempts, in bites: workspace by
-- workspace, the first ids first, which are in the order of time. Those that go on stay, as do those that somebody else has in hand
-- just now. Answers how many went.
CREATE FUNCTION datalane.forget_webhook_deliveries(kept interval, most integer DEFAULT 10000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
DECLARE
    bound constant uuid := app.uuid7_floor(greatest(coalesce(now, clock_timestamp()) - kept, 'epoch'));
    workspace uuid; old uuid[]; total integer := 0;
BEGIN
    FOR workspace IN SELECT DISTINCT e.workspace_id FROM datalane.webhook_endpoints e ORDER BY e.workspace_id LOOP
        SELECT array_agg(d.delivery_id) INTO old FROM (
            SELECT o.delivery_id FROM datalane.webhook_deliveries o
            WHERE o.workspace_id = workspace AND o.delivery_id < bound AND (o.ended_at IS NOT NULL OR o.held)
            ORDER BY o.delivery_id LIMIT most - total FOR UPDATE SKIP LOCKED) d;
        CONTINUE WHEN old IS NULL;
        DELETE FROM datalane.webhook_attempts a WHERE a.workspace_id = workspace AND a.delivery_id = ANY (old);
        DELETE FROM datalane.webhook_deliveries d WHERE d.workspace_id = workspace AND d.delivery_id = ANY (old);
        total := total + cardinality(old);
        EXIT WHEN total >= most;
    END LOOP;
    RETURN total;
END $$;
GRANT EXECUTE ON FUNCTION datalane.forget_webhook_deliveries(interval, integer, timestamptz) TO datalane_maintenance;

SET LOCAL ROLE datalane_owner;
