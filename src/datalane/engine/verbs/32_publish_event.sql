-- Publish one event: what `publish_batch` does for many, at a fraction of the cost.

-- Inside a tenant transaction. Answers the event's id (the first one's for a duplicate) and `accepted` or `duplicate`. Errors and
-- fan-out are those of `publish_batch`.
CREATE OR REPLACE FUNCTION datalane.publish_event(
    event_type text, payload jsonb, version integer DEFAULT 1, source_system text DEFAULT 'datalane',
    source_event_id text DEFAULT NULL, subject_id text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL,
    actor_id uuid DEFAULT NULL, correlation_id text DEFAULT NULL, causation_id uuid DEFAULT NULL,
    causation_depth integer DEFAULT 0, signature_verified boolean DEFAULT false,
    dedupe_window interval DEFAULT '30 days', now timestamptz DEFAULT NULL)
RETURNS TABLE (event_id uuid, ingestion_status text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id();
    actor constant uuid := coalesce(actor_id, app.actor_id());
    correlation constant text := coalesce(correlation_id, app.correlation_id());
    source constant text := coalesce(source_system, 'datalane');
    at constant timestamptz := coalesce(now, clock_timestamp());
    id constant uuid := app.uuid7();
BEGIN
    PERFORM datalane.require_rank(2);
    IF causation_depth > datalane.causation_limit() THEN
        RAISE EXCEPTION 'causation depth % is over the limit of % (limits.causation_depth): this event causes itself',
            causation_depth, datalane.causation_limit() USING ERRCODE = 'DL413';
    END IF;
    PERFORM FROM datalane.event_types t WHERE t.event_type = event_type AND t.version = version;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the event type % version % is not registered', event_type, version USING ERRCODE = 'DL400';
    END IF;
    IF pg_column_size(payload) > datalane.payload_limit() / 2 AND datalane.over_payload_limit(payload) THEN
        RAISE EXCEPTION 'the event payload is over the limit of % bytes (limits.event_payload)', datalane.payload_limit() USING ERRCODE = 'DL413';
    END IF;
    IF source_event_id IS NOT NULL THEN
        INSERT INTO datalane.event_dedupe AS d (workspace_id, source_system, source_event_id, event_id, received_at)
        VALUES (workspace, source, source_event_id, id, at)
        ON CONFLICT ON CONSTRAINT event_dedupe_pkey
            DO UPDATE SET event_id = EXCLUDED.event_id, received_at = at WHERE d.received_at < at - dedupe_window;
        IF NOT FOUND THEN
            RETURN QUERY
                INSERT INTO datalane.event_ingestion (workspace_id, ingestion_id, event_id, event_type, source_system,
                                                      source_event_id, ingestion_status, received_at, correlation_id)
                SELECT workspace, id, d.event_id, event_type, source, source_event_id, 'duplicate', at, correlation
                FROM datalane.event_dedupe d WHERE d.workspace_id = workspace AND d.source_system = source
                    AND d.source_event_id = source_event_id
                RETURNING event_ingestion.event_id, 'duplicate';
            RETURN;
        END IF;
    END IF;
    INSERT INTO datalane.event_ingestion (workspace_id, ingestion_id, event_id, event_type, source_system,
                                          source_event_id, ingestion_status, received_at, correlation_id)
    VALUES (workspace, id, id, event_type, source, source_event_id, 'accepted', at, correlation);
    INSERT INTO datalane.events (workspace_id, event_id, event_type, version, source_system, source_event_id, subject_id,
                                 actor_id, occurred_at, received_at, correlation_id, causation_id, causation_depth,
                                 payload, signature_verified)
    VALUES (workspace, id, event_type, version, source, coalesce(source_event_id, id::text), subject_id,
            actor, coalesce(occurred_at, at), at, correlation, causation_id, causation_depth, payload, signature_verified);
    INSERT INTO datalane.jobs (workspace_id, id, kind, subject_id, args, max_attempts, queued_at, next_retry_at,
                               idempotency_key, correlation_id, causation_id, causation_depth, actor_id)
    SELECT workspace, app.uuid7(), s.kind, subject_id, s.args || jsonb_build_object('event_id', id),
           datalane.default_attempts(), at, at, id || ':' || s.name, correlation, id, causation_depth, actor
    FROM (
        SELECT b.kind, b.args, b.subscription_id::text AS name FROM datalane.subscriptions b
        WHERE b.workspace_id = workspace AND b.enabled AND NOT b.ordered
          AND (b.event_type = event_type OR b.event_type = '*' AND NOT starts_with(event_type, 'webhook.'))
        UNION ALL
        SELECT h.kind, '{}', h.kind FROM datalane.event_handlers h WHERE h.event_type = event_type AND NOT h.ordered
    ) AS s;
    IF EXISTS (SELECT FROM datalane.subscriptions b WHERE b.workspace_id = workspace AND b.enabled AND b.ordered)
       OR EXISTS (SELECT FROM datalane.event_handlers h WHERE h.event_type = event_type AND h.ordered) THEN
        PERFORM datalane.fan_out_in_order(workspace, ARRAY[event_type], ARRAY[subject_id], ARRAY[id], ARRAY[true], actor,
                                          correlation, causation_depth, at);
    END IF;
    RETURN QUERY SELECT id, 'accepted';
END $$;

-- Publish one event from any driver: SELECT datalane.publish('invoice.paid', '{"invoice": 7}').
CREATE OR REPLACE FUNCTION datalane.publish(
    event_type text, payload jsonb, version integer DEFAULT 1, source_system text DEFAULT 'datalane',
    source_event_id text DEFAULT NULL, subject_id text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    SELECT event_id
    FROM datalane.publish_event(event_type, payload, version, source_system, source_event_id, subject_id, occurred_at)
$$;
