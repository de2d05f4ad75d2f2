-- Publish: the event, its ingestion record and one job per matching subscription commit together or not at all.

CREATE OR REPLACE FUNCTION datalane.register_event_type(event_type text, version integer, json_schema jsonb)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    INSERT INTO datalane.event_types (event_type, version, json_schema) VALUES (event_type, version, json_schema)
    ON CONFLICT (event_type, version) DO UPDATE SET json_schema = EXCLUDED.json_schema
    WHERE event_types.json_schema IS DISTINCT FROM EXCLUDED.json_schema
$$;

-- A handler that the application registers for every workspace.
CREATE OR REPLACE FUNCTION datalane.register_event_handler(event_type text, kind text, ordered boolean DEFAULT false)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    INSERT INTO datalane.event_handlers (event_type, kind, ordered) VALUES (event_type, kind, ordered)
    ON CONFLICT (event_type, kind) DO UPDATE SET ordered = EXCLUDED.ordered
    WHERE event_handlers.ordered IS DISTINCT FROM EXCLUDED.ordered
$$;

-- The core. A subscription to `*` takes every type but the lane's own of webhooks: what a delivery causes is not delivered
-- because of it. One statement stores what is new; duplicates take a second look, since a concurrent winner is only
-- visible to a later statement. An event without a source event id is its own source and cannot be a duplicate. Past the
-- limit of causation, where a job that came to its end there is told, handlers alone are told.
CREATE OR REPLACE FUNCTION datalane.publish_core(
    workspace uuid, event_types text[], versions integer[], payloads jsonb[], source_systems text[],
    source_event_ids text[], subject_ids text[], occurred_ats timestamptz[], actor uuid, correlation text,
    causation uuid, depth integer, verified boolean, dedupe_window interval, at timestamptz)
RETURNS TABLE (ordinal bigint, event_id uuid, ingestion_status text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    ids uuid[]; accepted boolean[]; reopened uuid[]; subscribers constant boolean := depth <= datalane.causation_limit();
BEGIN
    SELECT array_agg(app.uuid7() ORDER BY place) INTO ids FROM generate_series(1, cardinality(event_types)) AS place;
    accepted := array_fill(true, ARRAY[cardinality(ids)]);
    IF source_event_ids IS NOT NULL THEN
        WITH winners AS (
            INSERT INTO datalane.event_dedupe AS d (workspace_id, source_system, source_event_id, event_id, received_at)
            SELECT workspace, i.system, i.source_id, i.id, at
            FROM unnest(source_systems, source_event_ids, ids) AS i (system, source_id, id)
            WHERE i.source_id IS NOT NULL ORDER BY i.system, i.source_id
            ON CONFLICT (workspace_id, source_system, source_event_id) DO NOTHING
            RETURNING d.event_id
        )
        SELECT array_agg(i.source_id IS NULL OR w.event_id IS NOT NULL ORDER BY i.place) INTO accepted
        FROM unnest(source_event_ids, ids) WITH ORDINALITY AS i (source_id, id, place)
        LEFT JOIN winners w ON w.event_id = i.id;
        IF false = ANY (accepted) THEN
            -- A key whose window has passed is taken over by the first newcomer, also when it is being forgotten.
            WITH late AS (
                SELECT DISTINCT ON (i.system, i.source_id) i.system, i.source_id, i.id
                FROM unnest(source_systems, source_event_ids, ids, accepted) WITH ORDINALITY
                    AS i (system, source_id, id, won, place)
                WHERE NOT i.won ORDER BY i.system, i.source_id, i.place
            ), taken AS (
                INSERT INTO datalane.event_dedupe AS d (workspace_id, source_system, source_event_id, event_id, received_at)
                SELECT workspace, late.system, late.source_id, late.id, at FROM late
                ON CONFLICT (workspace_id, source_system, source_event_id)
                    DO UPDATE SET event_id = EXCLUDED.event_id, received_at = at WHERE d.received_at < at - dedupe_window
                RETURNING d.event_id
            )
            SELECT array_agg(taken.event_id) INTO reopened FROM taken;
            SELECT array_agg(i.won OR i.id = ANY (coalesce(reopened, '{}')) ORDER BY i.place) INTO accepted
            FROM unnest(ids, accepted) WITH ORDINALITY AS i (id, won, place);
        END IF;
    END IF;
    WITH input AS MATERIALIZED (
        SELECT i.event_type, i.version, i.payload, coalesce(i.system, 'datalane') AS system, i.source_id, i.subject,
               coalesce(i.occurred_at, at) AS occurred_at, i.id
        FROM unnest(event_types, versions, payloads, source_systems, source_event_ids, subject_ids, occurred_ats, ids, accepted)
            AS i (event_type, version, payload, system, source_id, subject, occurred_at, id, won)
        WHERE i.won
    ), logged AS (
        INSERT INTO datalane.event_ingestion (workspace_id, ingestion_id, event_id, event_type, source_system,
                                              source_event_id, ingestion_status, received_at, correlation_id)
        SELECT workspace, i.id, i.id, i.event_type, i.system, i.source_id, 'accepted', at, correlation FROM input i
    ), fanned AS (
        INSERT INTO datalane.jobs (workspace_id, id, kind, subject_id, args, max_attempts, queued_at, next_retry_at,
                                   idempotency_key, correlation_id, causation_id, causation_depth, actor_id)
        SELECT workspace, app.uuid7(), s.kind, i.subject, s.args || jsonb_build_object('event_id', i.id),
               datalane.default_attempts(), at, at, i.id || ':' || s.name, correlation, i.id, depth, actor
        FROM input i JOIN (
            SELECT b.event_type, b.kind, b.args, b.subscription_id::text AS name FROM datalane.subscriptions b
            WHERE subscribers AND b.workspace_id = workspace AND b.enabled AND NOT b.ordered
            UNION ALL
            SELECT t.event_type, b.kind, b.args, b.subscription_id::text FROM datalane.subscriptions b
            CROSS JOIN (SELECT DISTINCT event_type FROM input WHERE NOT starts_with(event_type, 'webhook.')) AS t
            WHERE subscribers AND b.workspace_id = workspace AND b.enabled AND NOT b.ordered AND b.event_type = '*'
            UNION ALL
            SELECT event_type, kind, '{}', kind FROM datalane.event_handlers WHERE NOT ordered
        ) s ON s.event_type = i.event_type
    )
    INSERT INTO datalane.events (workspace_id, event_id, event_type, version, source_system, source_event_id, subject_id,
                                 actor_id, occurred_at, received_at, correlation_id, causation_id, causation_depth,
                                 payload, signature_verified)
    SELECT workspace, i.id, i.event_type, i.version, i.system, coalesce(i.source_id, i.id::text), i.subject,
           actor, i.occurred_at, at, correlation, causation, depth, i.payload, verified
    FROM input i;
    PERFORM datalane.fan_out_in_order(workspace, event_types, subject_ids, ids, accepted, actor, correlation, depth, at);
    IF true = ALL (accepted) THEN
        RETURN QUERY SELECT i.place, i.id, 'accepted' FROM unnest(ids) WITH ORDINALITY AS i (id, place);
        RETURN;
    END IF;
    RETURN QUERY
        WITH answer AS MATERIALIZED (
            SELECT i.place, i.won, i.id, i.event_type, i.system, i.source_id,
                   CASE WHEN i.won THEN i.id ELSE d.event_id END AS first_id
            FROM unnest(event_types, source_systems, source_event_ids, ids, accepted) WITH ORDINALITY
                AS i (event_type, system, source_id, id, won, place)
            LEFT JOIN datalane.event_dedupe d ON d.workspace_id = workspace AND d.source_system = i.system
                AND d.source_event_id = i.source_id
        ), logged AS (
            INSERT INTO datalane.event_ingestion (workspace_id, ingestion_id, event_id, event_type, source_system,
                                                  source_event_id, ingestion_status, received_at, correlation_id)
            SELECT workspace, a.id, a.first_id, a.event_type, a.system, a.source_id, 'duplicate', at, correlation
            FROM answer a WHERE NOT a.won
        )
        SELECT a.place, a.first_id, CASE WHEN a.won THEN 'accepted' ELSE 'duplicate' END FROM answer a ORDER BY a.place;
END $$;

-- Jobs of ordered subscriptions: strict order per subject, so they take their place through enqueue. Subscriptions of one
-- `line` share their order.
CREATE OR REPLACE FUNCTION datalane.fan_out_in_order(
    workspace uuid, event_types text[], subject_ids text[], ids uuid[], accepted boolean[], actor uuid,
    correlation text, depth integer, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    kinds text[]; args jsonb[]; subjects text[]; keys text[]; causes uuid[]; cause uuid;
    subscribers constant boolean := depth <= datalane.causation_limit();
BEGIN
    SELECT array_agg(s.kind ORDER BY i.place, s.name), array_agg(s.args || jsonb_build_object('event_id', i.id) ORDER BY i.place, s.name),
           array_agg(i.subject ORDER BY i.place, s.name), array_agg(s.name || ':' || coalesce(i.subject, '') ORDER BY i.place, s.name),
           array_agg(i.id ORDER BY i.place, s.name)
    INTO kinds, args, subjects, keys, causes
    FROM unnest(event_types, subject_ids, ids, accepted) WITH ORDINALITY AS i (event_type, subject, id, won, place)
    JOIN (
        SELECT b.event_type, b.kind, b.args, coalesce(b.line, b.subscription_id)::text AS name FROM datalane.subscriptions b
        WHERE subscribers AND b.workspace_id = workspace AND b.enabled AND b.ordered
        UNION ALL
        SELECT t.event_type, b.kind, b.args, coalesce(b.line, b.subscription_id)::text FROM datalane.subscriptions b
        CROSS JOIN (SELECT DISTINCT u.event_type FROM unnest(event_types) AS u (event_type)
                    WHERE NOT starts_with(u.event_type, 'webhook.')) AS t
        WHERE subscribers AND b.workspace_id = workspace AND b.enabled AND b.ordered AND b.event_type = '*'
        UNION ALL
        SELECT h.event_type, h.kind, '{}', h.kind FROM datalane.event_handlers h WHERE h.ordered
    ) s ON s.event_type = i.event_type
    WHERE i.won;
    IF kinds IS NULL THEN
        RETURN;
    END IF;
    -- All keys are locked first, in one order, so that two batches never wait for one another.
    INSERT INTO datalane.job_order (workspace_id, order_key, next_seq, head_seq, touched_at)
    SELECT workspace, k.key, 0, 0, at FROM (SELECT DISTINCT key FROM unnest(keys) AS u (key)) AS k ORDER BY k.key
    ON CONFLICT (workspace_id, order_key) DO UPDATE SET touched_at = EXCLUDED.touched_at;
    FOR cause IN
        SELECT c.event FROM unnest(causes) WITH ORDINALITY AS c (event, place) GROUP BY c.event ORDER BY min(c.place)
    LOOP
        PERFORM datalane.enqueue_core(
            workspace, array_agg(i.kind ORDER BY i.place), array_agg(i.arg ORDER BY i.place),
            array_agg(i.subject ORDER BY i.place), NULL, NULL, array_agg(i.key ORDER BY i.place), NULL, NULL,
            actor, correlation, cause, depth, NULL, at)
        FROM unnest(kinds, args, subjects, keys, causes) WITH ORDINALITY AS i (kind, arg, subject, key, event, place)
        WHERE i.event = cause;
    END LOOP;
END $$;

-- Publish events into the context's workspace. Answers one row an event, in order: the event's id (the first one's
-- for a duplicate) and `accepted` or `duplicate`.
CREATE OR REPLACE FUNCTION datalane.publish_batch(
    event_types text[], versions integer[], payloads jsonb[], source_systems text[] DEFAULT NULL,
    source_event_ids text[] DEFAULT NULL, subject_ids text[] DEFAULT NULL, occurred_ats timestamptz[] DEFAULT NULL,
    actor_id uuid DEFAULT NULL, correlation_id text DEFAULT NULL, causation_id uuid DEFAULT NULL,
    causation_depth integer DEFAULT 0, signature_verified boolean DEFAULT false,
    dedupe_window interval DEFAULT '30 days', now timestamptz DEFAULT NULL)
RETURNS TABLE (ordinal bigint, event_id uuid, ingestion_status text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    unknown text;
BEGIN
    PERFORM datalane.require_rank(2);
    IF causation_depth > datalane.causation_limit() THEN
        RAISE EXCEPTION 'causation depth % is over the limit of % (limits.causation_depth): this event causes itself',
            causation_depth, datalane.causation_limit() USING ERRCODE = 'DL413';
    END IF;
    SELECT format('%s version %s', i.name, i.number) INTO unknown
    FROM (SELECT DISTINCT t.name, t.number FROM unnest(event_types, versions) AS t (name, number)) AS i
    WHERE NOT EXISTS (SELECT FROM datalane.event_types r WHERE r.event_type = i.name AND r.version = i.number) LIMIT 1;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'the event type % is not registered', unknown USING ERRCODE = 'DL400';
    END IF;
    -- Most are far below the limit; only the others are looked at closely, which costs as much as storing an event.
    IF EXISTS (SELECT FROM unnest(payloads) AS p (payload)
               WHERE pg_column_size(p.payload) > datalane.payload_limit() / 2 AND datalane.over_payload_limit(p.payload)) THEN
        RAISE EXCEPTION 'the event payload is over the limit of % bytes (limits.event_payload)', datalane.payload_limit() USING ERRCODE = 'DL413';
    END IF;
    RETURN QUERY SELECT p.ordinal, p.event_id, p.ingestion_status FROM datalane.publish_core(
        app.workspace_id(), event_types, versions, payloads,
        coalesce(source_systems, array_fill('datalane'::text, ARRAY[cardinality(event_types)])),
        source_event_ids, subject_ids, occurred_ats, coalesce(actor_id, app.actor_id()),
        coalesce(correlation_id, app.correlation_id()), causation_id, causation_depth, signature_verified,
        dedupe_window, coalesce(now, clock_timestamp())) AS p;
END $$;

-- For verbs that publish before a context exists or about the lane itself; not granted to anyone else.
CREATE OR REPLACE FUNCTION datalane.publish_for(
    workspace uuid, actor uuid, correlation text, event_type text, payload jsonb, subject_id text DEFAULT NULL,
    causation uuid DEFAULT NULL, depth integer DEFAULT 0, now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    SELECT event_id FROM datalane.publish_core(
        workspace, ARRAY[event_type], ARRAY[1], ARRAY[payload], ARRAY['datalane'], NULL, ARRAY[subject_id], NULL,
        actor, correlation, causation, depth, false, interval '0', coalesce(now, clock_timestamp()))
$$;

-- Keep a delivery that is not taken in sight: a bad signature, a payload against its schema, or what looks like one that came already
CREATE OR REPLACE FUNCTION datalane.record_rejection(
    event_type text, source_system text, source_event_id text, ingestion_status text, detail text,
    now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    recorded uuid := app.uuid7();
BEGIN
    PERFORM datalane.require_rank(2);
    IF ingestion_status NOT IN ('rejected_signature', 'rejected_schema', 'duplicate_suspected') THEN
        RAISE EXCEPTION 'a rejection is rejected_signature, rejected_schema or duplicate_suspected, not %', ingestion_status USING ERRCODE = 'DL400';
    END IF;
    INSERT INTO datalane.event_ingestion (workspace_id, ingestion_id, event_type, source_system, source_event_id,
                                          ingestion_status, received_at, correlation_id, detail)
    VALUES (app.workspace_id(), recorded, event_type, source_system, source_event_id, ingestion_status,
            coalesce(now, clock_timestamp()), app.correlation_id(), left(detail, 2000));
    RETURN recorded;
END $$;
