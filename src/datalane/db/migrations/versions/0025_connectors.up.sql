-- A connection to another system. `sealed_credentials` opens under the workspace's data key only, and goes when the connector is
-- revoked; `credential_names` are the names of what is sealed. `observed_at` and `outcome` are of the last report that counted.
CREATE TABLE datalane.connectors (
    workspace_id uuid NOT NULL,
    connector_id uuid NOT NULL,
    name text NOT NULL CONSTRAINT names_are_short CHECK (length(name) BETWEEN 1 AND 200),
    kind text NOT NULL CONSTRAINT kinds_are_short CHECK (length(kind) BETWEEN 1 AND 64),
    base_url text CONSTRAINT urls_are_short CHECK (length(base_url) BETWEEN 1 AND 2000),
    account_label text CONSTRAINT labels_are_short CHECK (length(account_label) BETWEEN 1 AND 200),
    scopes text[] NOT NULL CONSTRAINT scopes_are_few CHECK (cardinality(scopes) <= 100),
    auth jsonb NOT NULL,
    metadata jsonb NOT NULL CONSTRAINT metadata_is_an_object CHECK (jsonb_typeof(metadata) = 'object'),
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('connected', 'degraded', 'revoked')),
    credential_version integer NOT NULL CONSTRAINT credentials_are_counted_from_one CHECK (credential_version >= 1),
    credential_names text[] NOT NULL,
    sealed_credentials bytea CONSTRAINT credentials_are_bounded CHECK (octet_length(sealed_credentials) <= 65536),
    expires_at timestamptz,
    rotated_at timestamptz NOT NULL,
    observed_at timestamptz,
    outcome text CONSTRAINT outcome_is_known
        CHECK (outcome IN ('ok', 'expired', 'refresh_failed', 'unreachable', 'rejected', 'revoked_by_provider')),
    outcome_of text CONSTRAINT what_was_done_is_known CHECK (outcome_of IN ('check', 'refresh', 'sync', 'call')),
    detail text CONSTRAINT details_are_short CHECK (length(detail) <= 500),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    revoked_at timestamptz,
    created_by_actor_id uuid NOT NULL,
    updated_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, connector_id),
    CONSTRAINT only_the_revoked_have_no_credentials CHECK ((status = 'revoked') = (sealed_credentials IS NULL)),
    CONSTRAINT the_revoked_say_since_when CHECK ((status = 'revoked') = (revoked_at IS NOT NULL)),
    CONSTRAINT an_outcome_was_observed_once CHECK ((outcome IS NULL) = (observed_at IS NULL))
);
CREATE UNIQUE INDEX one_connector_per_name ON datalane.connectors (workspace_id, name) WHERE status <> 'revoked';
SELECT app.protect('datalane.connectors', 'managed', verbs => 'SELECT');

-- What happened to a connector, in the order in which the lane learned of it. `counted` is false for a report that came late.
CREATE TABLE datalane.connector_history (
    workspace_id uuid NOT NULL,
    history_id uuid NOT NULL,
    connector_id uuid NOT NULL,
    what text NOT NULL CONSTRAINT what_happened_is_known CHECK (what IN ('registered', 'rotated', 'reported', 'called', 'revoked')),
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('connected', 'degraded', 'revoked')),
    credential_version integer NOT NULL,
    expires_at timestamptz,
    outcome text CONSTRAINT outcome_is_known
        CHECK (outcome IN ('ok', 'expired', 'refresh_failed', 'unreachable', 'rejected', 'refused', 'revoked_by_provider')),
    outcome_of text CONSTRAINT what_was_done_is_known CHECK (outcome_of IN ('check', 'refresh', 'sync', 'call')),
    observed_at timestamptz,
    counted boolean NOT NULL,
    detail text CONSTRAINT details_are_short CHECK (length(detail) <= 500),
    recorded_at timestamptz NOT NULL,
    actor_id uuid NOT NULL,
    correlation_id text NOT NULL,
    PRIMARY KEY (workspace_id, history_id),
    CONSTRAINT history_is_of_a_connector FOREIGN KEY (workspace_id, connector_id)
        REFERENCES datalane.connectors (workspace_id, connector_id)
);
CREATE INDEX history_by_connector ON datalane.connector_history (workspace_id, connector_id, history_id);
SELECT app.protect('datalane.connector_history', 'decided', verbs => 'SELECT, DELETE');

SET LOCAL ROLE datalane_definer;

-- Lines of the history that were written longer than `kept` ago are forgotten in bites: workspace by workspace, the first ids first,
-- which are in the order of time. Answers how many went.
CREATE FUNCTION datalane.forget_connector_history(kept interval, most integer DEFAULT 10000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
DECLARE
    bound constant uuid := app.uuid7_floor(greatest(coalesce(now, clock_timestamp()) - kept, 'epoch'));
    workspace uuid; gone integer; total integer := 0;
BEGIN
    FOR workspace IN SELECT DISTINCT c.workspace_id FROM datalane.connectors c ORDER BY c.workspace_id LOOP
        DELETE FROM datalane.connector_history h USING (
            SELECT o.history_id FROM datalane.connector_history o
            WHERE o.workspace_id = workspace AND o.history_id < bound ORDER BY o.history_id LIMIT most - total) old
        WHERE h.workspace_id = workspace AND h.history_id = old.history_id;
        GET DIAGNOSTICS gone = ROW_COUNT;
        total := total + gone;
        EXIT WHEN total >= most;
    END LOOP;
    RETURN total;
END $$;
GRANT EXECUTE ON FUNCTION datalane.forget_connector_history(interval, integer, timestamptz) TO datalane_maintenance;

SET LOCAL ROLE datalane_owner;
