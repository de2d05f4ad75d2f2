SET LOCAL ROLE datalane_definer;
-- The verbs as the release before has them.
-- The core. One statement stores what is new; duplicates take a second look, since a concurrent winner is only
-- visible to a later statement. An event without a source event id is its own source and cannot be a duplicate.
CREATE OR REPLACE FUNCTION datalane.publish_core(
    workspace uuid, event_types text[], versions integer[], payloads jsonb[], source_systems text[],
    source_event_ids text[], subject_ids text[], occurred_ats timestamptz[], actor uuid, correlation text,
    causation uuid, depth integer, verified boolean, dedupe_window interval, at timestamptz)
RETURNS TABLE (ordinal bigint, event_id uuid, ingestion_status text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    ids uuid[]; accepted boolean[]; reopened uuid[];
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
            SELECT event_type, kind, args, subscription_id::text AS name FROM datalane.subscriptions
            WHERE workspace_id = workspace AND enabled AND NOT ordered
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

-- Jobs of ordered subscriptions: strict order per subject, so they take their place through enqueue.
CREATE OR REPLACE FUNCTION datalane.fan_out_in_order(
    workspace uuid, event_types text[], subject_ids text[], ids uuid[], accepted boolean[], actor uuid,
    correlation text, depth integer, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    kinds text[]; args jsonb[]; subjects text[]; keys text[]; causes uuid[]; cause uuid;
BEGIN
    SELECT array_agg(s.kind ORDER BY i.place, s.name), array_agg(s.args || jsonb_build_object('event_id', i.id) ORDER BY i.place, s.name),
           array_agg(i.subject ORDER BY i.place, s.name), array_agg(s.name || ':' || coalesce(i.subject, '') ORDER BY i.place, s.name),
           array_agg(i.id ORDER BY i.place, s.name)
    INTO kinds, args, subjects, keys, causes
    FROM unnest(event_types, subject_ids, ids, accepted) WITH ORDINALITY AS i (event_type, subject, id, won, place)
    JOIN (
        SELECT b.event_type, b.kind, b.args, b.subscription_id::text AS name FROM datalane.subscriptions b
        WHERE b.workspace_id = workspace AND b.enabled AND b.ordered
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

-- End a job's life as a dead letter: history row and event. The event stops where causation would run in a circle.
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
    IF (job).causation_depth < datalane.causation_limit() THEN
        PERFORM datalane.publish_for(
            (job).workspace_id, (job).actor_id, (job).correlation_id, 'job.dead_lettered',
            jsonb_build_object('job_id', (job).id, 'kind', (job).kind, 'reason', reason, 'error_class', error_class,
                               'attempt_count', (job).attempt_count),
            (job).id::text, (job).causation_id, (job).causation_depth + 1, at);
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

CREATE OR REPLACE FUNCTION datalane.publish(
    event_type text, payload jsonb, version integer DEFAULT 1, source_system text DEFAULT 'datalane',
    source_event_id text DEFAULT NULL, subject_id text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    SELECT event_id FROM datalane.publish_batch(
        ARRAY[event_type], ARRAY[version], ARRAY[payload], ARRAY[source_system],
        CASE WHEN source_event_id IS NOT NULL THEN ARRAY[source_event_id] END, ARRAY[subject_id], ARRAY[occurred_at])
$$;

DROP FUNCTION datalane.publish_event;
DROP FUNCTION datalane.admins_kinds;
DROP FUNCTION datalane.forget_webhook_deliveries;
SET LOCAL ROLE datalane_owner;

DROP TABLE datalane.webhook_attempts;
DROP TABLE datalane.webhook_deliveries;
DROP TABLE datalane.webhook_secrets;
DROP TABLE datalane.webhook_endpoint_types;
DROP TABLE datalane.webhook_endpoints;
ALTER TABLE datalane.subscriptions DROP COLUMN line;
