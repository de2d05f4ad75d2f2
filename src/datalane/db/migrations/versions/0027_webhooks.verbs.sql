SET LOCAL ROLE datalane_definer;

-- Enqueue: jobs in, in the caller's own transaction.

-- Kinds of jobs that only admins may cause. A handler runs as the lane itself, whoever left its job; what these do (run a rule,
-- use a connector's credentials, send to an endpoint) admins alone set up, and a job of a member's own would pass by them.
CREATE OR REPLACE FUNCTION datalane.admins_kinds() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY['automation.run', 'connector.call', 'webhook.deliver'];

-- The core. Arrays run in parallel, one element a job; a NULL array stands for "default everywhere".
-- `run_ats` NULL means now. Jobs of one order_key run one at a time in the order of their enqueueing.
CREATE OR REPLACE FUNCTION datalane.enqueue_core(
    workspace uuid, kinds text[], args jsonb[], subject_ids text[], priorities integer[], run_ats timestamptz[],
    order_keys text[], idempotency_keys text[], max_attempts integer[], actor uuid, correlation text,
    causation uuid, depth integer, parents uuid[], at timestamptz)
RETURNS TABLE (ordinal bigint, job_id uuid, created boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    ids uuid[]; fresh boolean[]; seqs bigint[]; waits text[];
BEGIN
    SELECT array_agg(app.uuid7() ORDER BY place) INTO ids FROM generate_series(1, cardinality(kinds)) AS place;
    IF idempotency_keys IS NOT NULL THEN
        WITH taken AS (
            INSERT INTO datalane.job_keys (workspace_id, idempotency_key, job_id, created_at)
            SELECT workspace, i.key, i.id, at FROM unnest(idempotency_keys, ids) AS i (key, id)
            WHERE i.key IS NOT NULL ORDER BY i.key
            ON CONFLICT (workspace_id, idempotency_key) DO NOTHING
            RETURNING job_id
        )
        SELECT array_agg(i.key IS NULL OR i.id IN (SELECT taken.job_id FROM taken) ORDER BY i.place) INTO fresh
        FROM unnest(idempotency_keys, ids) WITH ORDINALITY AS i (key, id, place);
    END IF;
    IF order_keys IS NOT NULL THEN
        WITH wanted AS (
            SELECT i.key, i.place, row_number() OVER (PARTITION BY i.key ORDER BY i.place) AS nth
            FROM unnest(order_keys) WITH ORDINALITY AS i (key, place)
            WHERE i.key IS NOT NULL AND coalesce(fresh[i.place], true)
        ), counted AS (
            INSERT INTO datalane.job_order AS o (workspace_id, order_key, next_seq, head_seq, touched_at)
            SELECT workspace, key, count(*), 0, at FROM wanted GROUP BY key ORDER BY key
            ON CONFLICT (workspace_id, order_key)
                DO UPDATE SET next_seq = o.next_seq + EXCLUDED.next_seq, touched_at = at
            RETURNING o.order_key, o.next_seq, o.head_seq
        ), placed AS (
            SELECT w.place, c.head_seq,
                   c.next_seq - (SELECT count(*) FROM wanted x WHERE x.key = w.key) + w.nth - 1 AS seq
            FROM wanted w JOIN counted c ON c.order_key = w.key
        )
        SELECT array_agg(p.seq ORDER BY i.place),
               array_agg(CASE WHEN p.seq > p.head_seq THEN 'order' END ORDER BY i.place)
        INTO seqs, waits
        FROM generate_series(1, cardinality(kinds)) AS i (place) LEFT JOIN placed p ON p.place = i.place;
    END IF;
    INSERT INTO datalane.jobs (workspace_id, id, kind, subject_id, shelf, priority, args, max_attempts, queued_at,
                               next_retry_at, order_key, order_seq, idempotency_key, correlation_id, causation_id,
                               causation_depth, actor_id, parent_job_id)
    SELECT workspace, ids[i.place], i.kind, i.subject,
           coalesce(waits[i.place], CASE WHEN i.run_at > at THEN 'due' ELSE 'ready' END),
           coalesce(i.priority, 0), coalesce(i.arg, '{}'), coalesce(i.attempts, datalane.default_attempts()), at, coalesce(i.run_at, at),
           i.order_key, seqs[i.place], i.key, correlation, causation, depth, actor, i.parent
    FROM unnest(kinds, args, subject_ids, priorities, run_ats, order_keys, idempotency_keys, max_attempts, parents)
        WITH ORDINALITY AS i (kind, arg, subject, priority, run_at, order_key, key, attempts, parent, place)
    WHERE fresh IS NULL OR fresh[i.place];
    IF fresh IS NULL OR true = ALL (fresh) THEN
        RETURN QUERY SELECT i.place, i.id, true FROM unnest(ids) WITH ORDINALITY AS i (id, place);
    ELSE
        RETURN QUERY
            SELECT i.place, coalesce(k.job_id, i.id), fresh[i.place]
            FROM unnest(ids, idempotency_keys) WITH ORDINALITY AS i (id, key, place)
            LEFT JOIN datalane.job_keys k ON k.workspace_id = workspace AND k.idempotency_key = i.key;
    END IF;
END $$;

-- Enqueue jobs into the context's workspace. Answers one row a job, in order: its id, and whether it is new
-- (false: the idempotency key was known, the id is the first one's).
CREATE OR REPLACE FUNCTION datalane.enqueue_batch(
    kinds text[], args jsonb[], subject_ids text[] DEFAULT NULL, priorities integer[] DEFAULT NULL,
    run_ats timestamptz[] DEFAULT NULL, order_keys text[] DEFAULT NULL, idempotency_keys text[] DEFAULT NULL,
    max_attempts integer[] DEFAULT NULL, actor_id uuid DEFAULT NULL, correlation_id text DEFAULT NULL,
    causation_id uuid DEFAULT NULL, causation_depth integer DEFAULT 0, now timestamptz DEFAULT NULL)
RETURNS TABLE (ordinal bigint, job_id uuid, created boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
BEGIN
    PERFORM datalane.require_rank(2);
    IF kinds && datalane.admins_kinds() THEN
        PERFORM datalane.require_rank(3);
    END IF;
    IF causation_depth > datalane.causation_limit() THEN
        RAISE EXCEPTION 'causation depth % is over the limit of % (limits.causation_depth): this work causes itself',
            causation_depth, datalane.causation_limit() USING ERRCODE = 'DL413';
    END IF;
    IF EXISTS (SELECT FROM unnest(kinds) AS k (kind) WHERE k.kind IS NULL OR k.kind = '') THEN
        RAISE EXCEPTION 'a job needs a kind' USING ERRCODE = 'DL400';
    END IF;
    RETURN QUERY SELECT e.ordinal, e.job_id, e.created FROM datalane.enqueue_core(
        app.workspace_id(), kinds, args, subject_ids, priorities, run_ats, order_keys, idempotency_keys, max_attempts,
        coalesce(actor_id, app.actor_id()), coalesce(correlation_id, app.correlation_id()),
        causation_id, causation_depth, NULL, coalesce(now, clock_timestamp())) AS e;
END $$;

-- Enqueue one job from any driver: SELECT datalane.enqueue('send_report', '{"month": "2026-01"}'). Without
-- `max_attempts` it has the lane's default.
CREATE OR REPLACE FUNCTION datalane.enqueue(
    kind text, args jsonb DEFAULT '{}', subject_id text DEFAULT NULL, priority integer DEFAULT 0,
    run_at timestamptz DEFAULT NULL, order_key text DEFAULT NULL, idempotency_key text DEFAULT NULL,
    max_attempts integer DEFAULT NULL)
RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    SELECT job_id FROM datalane.enqueue_batch(
        ARRAY[kind], ARRAY[args], ARRAY[subject_id], ARRAY[priority], ARRAY[run_at],
        CASE WHEN order_key IS NOT NULL THEN ARRAY[order_key] END,
        CASE WHEN idempotency_key IS NOT NULL THEN ARRAY[idempotency_key] END, ARRAY[max_attempts])
$$;

-- Enqueue one job: what `enqueue_batch` does for many and with keys, at a fraction of the cost.

-- Inside a tenant transaction. Answers the job's id. Without `max_attempts` the job has the lane's default.
CREATE OR REPLACE FUNCTION datalane.enqueue_job(
    kind text, args jsonb DEFAULT '{}', subject_id text DEFAULT NULL, priority integer DEFAULT 0,
    run_at timestamptz DEFAULT NULL, max_attempts integer DEFAULT NULL, actor_id uuid DEFAULT NULL,
    correlation_id text DEFAULT NULL, causation_id uuid DEFAULT NULL, causation_depth integer DEFAULT 0,
    now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    id constant uuid := app.uuid7();
    at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    PERFORM datalane.require_rank(2);
    IF kind = ANY (datalane.admins_kinds()) THEN
        PERFORM datalane.require_rank(3);
    END IF;
    IF causation_depth > datalane.causation_limit() THEN
        RAISE EXCEPTION 'causation depth % is over the limit of % (limits.causation_depth): this work causes itself',
            causation_depth, datalane.causation_limit() USING ERRCODE = 'DL413';
    END IF;
    IF kind IS NULL OR kind = '' THEN
        RAISE EXCEPTION 'a job needs a kind' USING ERRCODE = 'DL400';
    END IF;
    INSERT INTO datalane.jobs (workspace_id, id, kind, subject_id, shelf, priority, args, max_attempts, queued_at,
                               next_retry_at, correlation_id, causation_id, causation_depth, actor_id)
    VALUES (app.workspace_id(), id, kind, subject_id, CASE WHEN run_at > at THEN 'due' ELSE 'ready' END,
            coalesce(priority, 0), coalesce(args, '{}'), coalesce(max_attempts, datalane.default_attempts()), at,
            coalesce(run_at, at), coalesce(correlation_id, app.correlation_id()), causation_id, causation_depth,
            coalesce(actor_id, app.actor_id()));
    RETURN id;
END $$;

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

-- Finish: complete, fail, give back, extend, rescue. Every write names the lease token it holds; a token that is no
-- longer the job's writes nothing (fencing).

-- Move completed jobs to history and let the next of each ordering key run. Answers the ids that were completed.
CREATE OR REPLACE FUNCTION datalane.complete_core(workspaces uuid[], ids uuid[], tokens bigint[], at timestamptz)
RETURNS uuid[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    done uuid[]; ordered boolean;
BEGIN
    WITH gone AS (
        DELETE FROM datalane.jobs j USING unnest(workspaces, ids, tokens) AS t (workspace, id, token)
        WHERE j.workspace_id = t.workspace AND j.id = t.id AND j.lease_token = t.token AND j.status = 'processing'
        RETURNING j.workspace_id, j.id, j.kind, j.subject_id, j.priority, j.args, j.attempt_count, j.max_attempts,
                  j.rescue_count, j.queued_at, j.started_at, j.lease_token, j.leased_by, j.order_key, j.order_seq, j.idempotency_key,
                  j.correlation_id, j.causation_id, j.causation_depth, j.actor_id, j.parent_job_id, j.last_error_class,
                  j.last_error_message
    ), kept AS (
        INSERT INTO datalane.job_history (
            workspace_id, id, kind, subject_id, priority, args, attempt_count, max_attempts, rescue_count, queued_at,
            started_at, completed_at, lease_token, leased_by, order_key, order_seq, idempotency_key, correlation_id, causation_id,
            causation_depth, actor_id, parent_job_id, last_error_class, last_error_message)
        SELECT workspace_id, id, kind, subject_id, priority, args, attempt_count, max_attempts, rescue_count, queued_at,
               started_at, at, lease_token, leased_by, order_key, order_seq, idempotency_key, correlation_id, causation_id,
               causation_depth, actor_id, parent_job_id, last_error_class, last_error_message
        FROM gone
    )
    SELECT array_agg(gone.id), bool_or(gone.order_key IS NOT NULL) INTO done, ordered FROM gone;
    IF ordered THEN
        PERFORM datalane.advance_order(o.workspace_id, o.order_key, o.order_seq, at)
        FROM (SELECT h.workspace_id, h.order_key, h.order_seq
              FROM datalane.job_history h JOIN unnest(workspaces, ids) AS t (workspace, id)
                  ON h.workspace_id = t.workspace AND h.id = t.id
              WHERE h.id = ANY (done) AND h.order_key IS NOT NULL ORDER BY h.workspace_id, h.order_key) AS o;
    END IF;
    RETURN coalesce(done, '{}');
END $$;

-- The head of an ordering key is done or skipped: the next in line may run. Places given up before their turn are
-- passed over. The caller holds the row of the job at `seq`, so whether that is the head cannot change under it, and
-- nobody waits for the key's lock while holding the row of the next in line.
CREATE OR REPLACE FUNCTION datalane.advance_order(workspace uuid, key text, seq bigint, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    head bigint; following bigint;
BEGIN
    SELECT o.head_seq INTO head FROM datalane.job_order o WHERE o.workspace_id = workspace AND o.order_key = key;
    IF head IS DISTINCT FROM seq THEN
        RETURN;
    END IF;
    PERFORM FROM datalane.job_order o WHERE o.workspace_id = workspace AND o.order_key = key FOR UPDATE;
    SELECT min(j.order_seq) INTO following FROM datalane.jobs j
    WHERE j.workspace_id = workspace AND j.order_key = key AND j.order_seq > seq AND j.replayed_by IS NULL
      AND j.dead_letter_reason IS DISTINCT FROM 'canceled';
    UPDATE datalane.job_order o SET head_seq = coalesce(following, o.next_seq), touched_at = at
    WHERE o.workspace_id = workspace AND o.order_key = key;
    UPDATE datalane.jobs j SET shelf = CASE WHEN j.next_retry_at > at THEN 'due' ELSE 'ready' END
    WHERE j.workspace_id = workspace AND j.order_key = key AND j.order_seq = following AND j.shelf = 'order';
    IF NOT FOUND AND EXISTS (SELECT FROM datalane.jobs j WHERE j.workspace_id = workspace AND j.order_key = key
                             AND j.order_seq = following AND j.dead_letter_reason = 'canceled') THEN
        PERFORM datalane.advance_order(workspace, key, following, at);  -- canceled while we waited for its row
    END IF;
END $$;

-- Inside a tenant transaction: complete the jobs together with what they did. Raises lease_lost, which rolls the
-- transaction back, unless every job was still held.
CREATE OR REPLACE FUNCTION datalane.complete_jobs(ids uuid[], tokens bigint[], now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    done uuid[];
BEGIN
    PERFORM datalane.require_rank(2);
    done := datalane.complete_core(array_fill(app.workspace_id(), ARRAY[cardinality(ids)]), ids, tokens,
                                   coalesce(now, clock_timestamp()));
    IF cardinality(done) < cardinality(ids) THEN
        RAISE EXCEPTION 'the lease of job % was lost', (SELECT i FROM unnest(ids) AS i WHERE i <> ALL (done) LIMIT 1)
            USING ERRCODE = 'DL410';
    END IF;
END $$;

-- For the worker: complete jobs of any workspaces. Answers the ids it still held.
CREATE OR REPLACE FUNCTION datalane.finish_jobs(
    workspaces uuid[], ids uuid[], tokens bigint[], now timestamptz DEFAULT NULL)
RETURNS uuid[] LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    SELECT datalane.complete_core(workspaces, ids, tokens, coalesce(now, clock_timestamp()))
$$;

-- One row of history for the start of the attempt that ends now, and one for how it ends.
CREATE OR REPLACE FUNCTION datalane.record_attempt(
    job datalane.jobs, to_status text, error_class text, error_message text, reason text, at timestamptz)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    INSERT INTO datalane.job_transitions (workspace_id, job_id, transition_id, claim, at, from_status, to_status, attempt,
                                          worker)
    VALUES ((job).workspace_id, (job).id, app.uuid7(), (job).lease_token, (job).started_at,
            CASE WHEN (job).lease_token > 1 THEN 'retrying' ELSE 'queued' END,
            'processing', (job).attempt_count, (job).leased_by);
    INSERT INTO datalane.job_transitions (workspace_id, job_id, transition_id, claim, at, from_status, to_status, attempt,
                                          worker, error_class, error_message, reason)
    VALUES ((job).workspace_id, (job).id, app.uuid7(), (job).lease_token, at, 'processing', to_status,
            (job).attempt_count, (job).leased_by, error_class, error_message, reason)
$$;

-- End a job's life as a dead letter: history row and event. At the limit of causation the event is told to handlers alone, and
-- past it there is none, so that nothing runs in a circle.
CREATE OR REPLACE FUNCTION datalane.bury_job(
    job datalane.jobs, from_status text, reason text, error_class text, error_message text, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    UPDATE datalane.jobs j
    SET status = 'dead_letter', dead_lettered_at = at, dead_letter_reason = reason, shelf = 'stopped', lease_until = NULL,
        last_error_class = coalesce(error_class, j.last_error_class),
        last_error_message = coalesce(error_message, j.last_error_message)
    WHERE j.workspace_id = (job).workspace_id AND j.id = (job).id;
    INSERT INTO datalane.job_transitions (workspace_id, job_id, transition_id, claim, at, from_status, to_status, attempt,
                                          error_class, error_message, reason)
    VALUES ((job).workspace_id, (job).id, app.uuid7(), (job).lease_token, at, from_status, 'dead_letter',
            (job).attempt_count, error_class, error_message, reason);
    IF (job).causation_depth <= datalane.causation_limit() THEN
        PERFORM datalane.publish_for(
            (job).workspace_id, (job).actor_id, (job).correlation_id, 'job.dead_lettered',
            jsonb_build_object('job_id', (job).id, 'kind', (job).kind, 'reason', reason, 'error_class', error_class,
                               'attempt_count', (job).attempt_count),
            (job).id::text, (job).causation_id, (job).causation_depth + 1, at);
    END IF;
END $$;

-- A handler failed. `retry_after` NULL says the error will not go away by itself: the job is `failed` until an operator
-- retries it. Otherwise the job retries after the delay, or becomes a dead letter when it was the last attempt.
-- Answers the new status, or NULL when the lease was lost.
CREATE OR REPLACE FUNCTION datalane.fail_job(
    workspace uuid, job_id uuid, token bigint, error_class text, error_message text, retry_after interval,
    now timestamptz DEFAULT NULL)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs;
BEGIN
    SELECT j.* INTO job FROM datalane.jobs j
    WHERE j.workspace_id = workspace AND j.id = job_id AND j.lease_token = token AND j.status = 'processing' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF retry_after IS NULL THEN
        PERFORM datalane.record_attempt(job, 'failed', error_class, error_message, NULL, at);
        UPDATE datalane.jobs j SET status = 'failed', shelf = 'stopped', lease_until = NULL, last_error_class = error_class,
                                   last_error_message = error_message
        WHERE j.workspace_id = workspace AND j.id = job_id;
        RETURN 'failed';
    END IF;
    PERFORM datalane.record_attempt(job, 'retrying', error_class, error_message, NULL, at);
    IF job.attempt_count >= job.max_attempts THEN
        PERFORM datalane.bury_job(job, 'retrying', 'attempts_exhausted', error_class, error_message, at);
        RETURN 'dead_letter';
    END IF;
    UPDATE datalane.jobs j
    SET status = 'retrying', lease_until = NULL, next_retry_at = at + retry_after,
        shelf = CASE WHEN retry_after > interval '0' THEN 'due' ELSE 'ready' END,
        last_error_class = error_class, last_error_message = error_message
    WHERE j.workspace_id = workspace AND j.id = job_id;
    RETURN 'retrying';
END $$;

-- The same inside a tenant transaction, so that a domain's record of the failure commits with it. Raises lease_lost.
CREATE OR REPLACE FUNCTION datalane.fail_job_here(
    job_id uuid, token bigint, error_class text, error_message text, retry_after interval, now timestamptz DEFAULT NULL)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    status text;
BEGIN
    PERFORM datalane.require_rank(2);
    status := datalane.fail_job(app.workspace_id(), job_id, token, error_class, error_message, retry_after, now);
    IF status IS NULL THEN
        RAISE EXCEPTION 'the lease of job % was lost', job_id USING ERRCODE = 'DL410';
    END IF;
    RETURN status;
END $$;

-- Give claimed jobs back unharmed (a worker that stops): the attempt is not spent. Answers how many.
CREATE OR REPLACE FUNCTION datalane.release_jobs(
    workspaces uuid[], ids uuid[], tokens bigint[], now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; released integer := 0;
BEGIN
    FOR job IN
        SELECT j.* FROM datalane.jobs j JOIN unnest(workspaces, ids, tokens) AS t (workspace, id, token)
            ON j.workspace_id = t.workspace AND j.id = t.id AND j.lease_token = t.token
        WHERE j.status = 'processing' ORDER BY j.workspace_id, j.id FOR UPDATE OF j
    LOOP
        PERFORM datalane.record_attempt(job, 'retrying', NULL, NULL, 'released', at);
        UPDATE datalane.jobs j
        SET status = 'retrying', shelf = 'ready', lease_until = NULL, attempt_count = j.attempt_count - 1,
            next_retry_at = at
        WHERE j.workspace_id = job.workspace_id AND j.id = job.id;
        released := released + 1;
    END LOOP;
    RETURN released;
END $$;

-- Heartbeat: hold the leases for another `lease`; what runs this long leaves the ready shelf. Answers the ids still held;
-- the others were lost or canceled. A job that is being finished right now is held and not waited for.
CREATE OR REPLACE FUNCTION datalane.extend_leases(
    workspaces uuid[], ids uuid[], tokens bigint[], lease interval, now timestamptz DEFAULT NULL)
RETURNS uuid[] LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    WITH held AS MATERIALIZED (
        SELECT j.workspace_id, j.id FROM datalane.jobs j JOIN unnest(workspaces, ids, tokens) AS t (workspace, id, token)
            ON j.workspace_id = t.workspace AND j.id = t.id AND j.lease_token = t.token
        WHERE j.status = 'processing'
    ), free AS MATERIALIZED (
        SELECT j.workspace_id, j.id FROM datalane.jobs j JOIN unnest(workspaces, ids, tokens) AS t (workspace, id, token)
            ON j.workspace_id = t.workspace AND j.id = t.id AND j.lease_token = t.token
        WHERE j.status = 'processing' FOR UPDATE OF j SKIP LOCKED
    ), extended AS (
        UPDATE datalane.jobs j SET lease_until = coalesce(now, clock_timestamp()) + lease, shelf = 'held'
        FROM free WHERE j.workspace_id = free.workspace_id AND j.id = free.id
    )
    SELECT coalesce(array_agg(held.id), '{}') FROM held
$$;

-- Take a job back from a worker that was lost, or that lost the database: its attempt is unspent, and it is ready again
-- after `pause`. Past `bound` rescues it is a dead letter, since it seems to take its worker or the database down.
CREATE OR REPLACE FUNCTION datalane.rescue_job(
    job datalane.jobs, bound integer, error_class text, pause interval, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.record_attempt(job, 'retrying', error_class, NULL, 'rescued', at);
    IF job.rescue_count + 1 > bound THEN
        PERFORM datalane.bury_job(job, 'retrying', 'rescued_too_often', error_class,
                                  format('it was taken back from its worker %s times', job.rescue_count + 1), at);
        RETURN;
    END IF;
    UPDATE datalane.jobs j
    SET status = 'retrying', shelf = CASE WHEN pause > interval '0' THEN 'due' ELSE 'ready' END, lease_until = NULL,
        rescue_count = j.rescue_count + 1, attempt_count = j.attempt_count - 1, next_retry_at = at + pause,
        last_error_class = error_class
    WHERE j.workspace_id = job.workspace_id AND j.id = job.id;
END $$;

-- The sweep: held jobs whose worker is lost go back to ready. (Claims take over the lost jobs on the ready shelf by
-- themselves.) Answers how many were rescued.
CREATE OR REPLACE FUNCTION datalane.rescue_jobs(bound integer, most integer DEFAULT 500, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; rescued integer := 0;
BEGIN
    FOR job IN
        SELECT j.* FROM datalane.jobs j WHERE j.shelf = 'held' AND j.lease_until < at
        ORDER BY j.workspace_id, j.id LIMIT most FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM datalane.rescue_job(job, bound, 'lease_lost', interval '0', at);
        rescued := rescued + 1;
    END LOOP;
    RETURN rescued;
END $$;

-- A worker that had lost the database takes back what it holds but does not run: jobs whose transaction broke, and those
-- of a claim whose answer never came. What had committed all the same is no longer held. The first time a job is ready
-- at once; after that it waits, twice as long each time up to `lease`, as it may be the job that breaks the connection.
-- A row that an old session still has locked is being decided: it counts as undecided, to be asked about again.
CREATE OR REPLACE FUNCTION datalane.reclaim_jobs(
    worker text, running_workspaces uuid[], running_ids uuid[], bound integer, lease interval,
    now timestamptz DEFAULT NULL)
RETURNS TABLE (reclaimed integer, undecided integer) LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs;
BEGIN
    reclaimed := 0;
    FOR job IN
        SELECT j.* FROM datalane.jobs j
        WHERE j.leased_by = worker AND j.status = 'processing' AND NOT EXISTS (
            SELECT FROM unnest(running_workspaces, running_ids) AS r (workspace, id)
            WHERE r.workspace = j.workspace_id AND r.id = j.id)
        ORDER BY j.workspace_id, j.id FOR UPDATE OF j SKIP LOCKED
    LOOP
        PERFORM datalane.rescue_job(job, bound, 'database_unavailable', CASE job.rescue_count
            WHEN 0 THEN interval '0' ELSE least(lease, interval '1 second' * 2.0 ^ least(job.rescue_count - 1, 30)) END, at);
        reclaimed := reclaimed + 1;
    END LOOP;
    SELECT count(*) INTO undecided FROM datalane.jobs j
    WHERE j.leased_by = worker AND j.status = 'processing' AND NOT EXISTS (
        SELECT FROM unnest(running_workspaces, running_ids) AS r (workspace, id)
        WHERE r.workspace = j.workspace_id AND r.id = j.id);
    RETURN NEXT;
END $$;

-- Who may call what. Everything not named here is for the verbs among themselves.

GRANT EXECUTE ON FUNCTION
    datalane.audit(text, text, text, jsonb, jsonb),
    datalane.erase_audit_details(uuid[], text),
    datalane.erase_person_from_audit(uuid, text[], text),
    datalane.admins_kinds(),
    datalane.enqueue(text, jsonb, text, integer, timestamptz, text, text, integer),
    datalane.enqueue_batch(text[], jsonb[], text[], integer[], timestamptz[], text[], text[], integer[], uuid, text, uuid, integer, timestamptz),
    datalane.enqueue_job(text, jsonb, text, integer, timestamptz, integer, uuid, text, uuid, integer, timestamptz),
    datalane.publish_event(text, jsonb, integer, text, text, text, timestamptz, uuid, text, uuid, integer, boolean, interval, timestamptz),
    datalane.publish(text, jsonb, integer, text, text, text, timestamptz),
    datalane.publish_batch(text[], integer[], jsonb[], text[], text[], text[], timestamptz[], uuid, text, uuid, integer, boolean, interval, timestamptz),
    datalane.record_rejection(text, text, text, text, text, timestamptz),
    datalane.complete_jobs(uuid[], bigint[], timestamptz),
    datalane.complete_job(uuid, bigint, timestamptz),
    datalane.fail_job_here(uuid, bigint, text, text, interval, timestamptz),
    datalane.retry_jobs(uuid[], timestamptz),
    datalane.replay_jobs(uuid[], timestamptz),
    datalane.cancel_jobs(uuid[], timestamptz),
    datalane.skip_job(uuid, timestamptz),
    datalane.pause_jobs(text),
    datalane.resume_jobs(text)
TO datalane_app;

GRANT EXECUTE ON FUNCTION
    datalane.claim_jobs(text[], integer, interval, text, uuid, text, integer, timestamptz),
    datalane.finish_jobs(uuid[], uuid[], bigint[], timestamptz),
    datalane.fail_job(uuid, uuid, bigint, text, text, interval, timestamptz),
    datalane.postpone_job(uuid, uuid, bigint, text, text, interval, timestamptz),
    datalane.release_jobs(uuid[], uuid[], bigint[], timestamptz),
    datalane.extend_leases(uuid[], uuid[], bigint[], interval, timestamptz),
    datalane.rescue_jobs(integer, integer, timestamptz),
    datalane.reclaim_jobs(text, uuid[], uuid[], integer, interval, timestamptz),
    datalane.register_job_kind(text, integer),
    datalane.register_event_type(text, integer, jsonb),
    datalane.register_event_handler(text, text, boolean),
    datalane.pause_kind_everywhere(text, uuid, text),
    datalane.resume_kind_everywhere(text, uuid, text),
    datalane.due_schedules(integer, timestamptz),
    datalane.fire_schedule(uuid, text, timestamptz, timestamptz, text, timestamptz),
    datalane.next_due()
TO datalane_worker;

GRANT EXECUTE ON FUNCTION
    datalane.count_jobs(timestamptz),
    datalane.forget_old_keys(interval, integer, timestamptz),
    datalane.unsealed_workspaces(uuid, integer),
    datalane.seal_audit(uuid, integer, timestamptz)
TO datalane_maintenance;

SET LOCAL ROLE datalane_owner;
