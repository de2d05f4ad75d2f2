-- How a connector's webhooks are checked. The URL that they come to holds a secret of which the digest is here; `secret_names` are the
-- credentials of the connector that may have signed.
CREATE TABLE datalane.inbound_webhooks (
    workspace_id uuid NOT NULL,
    connector_id uuid NOT NULL,
    token_digest bytea NOT NULL CONSTRAINT a_digest_is_sha256 CHECK (octet_length(token_digest) = 32),
    preset text,
    rule jsonb NOT NULL,
    secret_names text[] NOT NULL,
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('open', 'closed')),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, connector_id),
    CONSTRAINT webhooks_come_from_a_connector FOREIGN KEY (workspace_id, connector_id)
        REFERENCES datalane.connectors (workspace_id, connector_id)
);
SELECT app.protect('datalane.inbound_webhooks', 'managed', verbs => 'SELECT');

-- Signed bytes that came lately from providers that sign no id, and the delivery in which they came.
CREATE TABLE datalane.inbound_seen (
    workspace_id uuid NOT NULL,
    connector_id uuid NOT NULL,
    signed_digest bytea NOT NULL CONSTRAINT a_digest_is_sha256 CHECK (octet_length(signed_digest) = 32),
    delivery_id text NOT NULL CONSTRAINT ids_are_short CHECK (length(delivery_id) BETWEEN 1 AND 200),
    received_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, connector_id, signed_digest),
    CONSTRAINT bytes_came_from_a_connector FOREIGN KEY (workspace_id, connector_id)
        REFERENCES datalane.connectors (workspace_id, connector_id)
);
CREATE INDEX seen_by_age ON datalane.inbound_seen (workspace_id, connector_id, received_at);
SELECT app.protect('datalane.inbound_seen', 'managed');

-- Deliveries that look like one that came already. Somebody decides, and the body goes.
CREATE TABLE datalane.inbound_held (
    workspace_id uuid NOT NULL,
    held_id uuid NOT NULL,
    connector_id uuid NOT NULL,
    delivery_id text NOT NULL CONSTRAINT ids_are_short CHECK (length(delivery_id) BETWEEN 1 AND 200),
    like_delivery_id text NOT NULL,
    payload jsonb,
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('held', 'released', 'dismissed')),
    received_at timestamptz NOT NULL,
    decided_at timestamptz,
    decided_by_actor_id uuid,
    PRIMARY KEY (workspace_id, held_id),
    CONSTRAINT only_the_undecided_have_a_body CHECK ((status = 'held') = (payload IS NOT NULL)),
    CONSTRAINT the_decided_say_when CHECK ((status = 'held') = (decided_at IS NULL)),
    CONSTRAINT deliveries_came_from_a_connector FOREIGN KEY (workspace_id, connector_id)
        REFERENCES datalane.connectors (workspace_id, connector_id)
);
CREATE UNIQUE INDEX one_held_delivery_per_id ON datalane.inbound_held (workspace_id, connector_id, delivery_id) WHERE status = 'held';
CREATE INDEX inbound_held_by_delivery ON datalane.inbound_held (workspace_id, connector_id, delivery_id)
    WHERE status IN ('held', 'released');
SELECT app.protect('datalane.inbound_held', 'managed', verbs => 'SELECT, DELETE');

SET LOCAL ROLE datalane_definer;

-- Held deliveries that somebody decided on, and that came longer than `kept` ago, are forgotten in bites, workspace by workspace. What
-- nobody decided on stays. Answers how many went.
CREATE FUNCTION datalane.forget_held_deliveries(kept interval, most integer DEFAULT 10000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
DECLARE
    bound constant uuid := app.uuid7_floor(greatest(coalesce(now, clock_timestamp()) - kept, 'epoch'));
    workspace uuid; gone integer; total integer := 0;
BEGIN
    FOR workspace IN SELECT DISTINCT i.workspace_id FROM datalane.inbound_webhooks i ORDER BY i.workspace_id LOOP
        DELETE FROM datalane.inbound_held h USING (
            SELECT o.held_id FROM datalane.inbound_held o
            WHERE o.workspace_id = workspace AND o.held_id < bound AND o.status <> 'held'
            ORDER BY o.held_id LIMIT most - total) old
        WHERE h.workspace_id = workspace AND h.held_id = old.held_id;
        GET DIAGNOSTICS gone = ROW_COUNT;
        total := total + gone;
        EXIT WHEN total >= most;
    END LOOP;
    RETURN total;
END $$;
GRANT EXECUTE ON FUNCTION datalane.forget_held_deliveries(interval, integer, timestamptz) TO datalane_maintenance;

SET LOCAL ROLE datalane_owner;
