SET LOCAL ROLE datalane_definer;

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

-- Publish one event from any driver: SELECT datalane.publish('invoice.paid', '{"invoice": 7}').
CREATE OR REPLACE FUNCTION datalane.publish(
    event_type text, payload jsonb, version integer DEFAULT 1, source_system text DEFAULT 'datalane',
    source_event_id text DEFAULT NULL, subject_id text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    SELECT event_id FROM datalane.publish_batch(
        ARRAY[event_type], ARRAY[version], ARRAY[payload], ARRAY[source_system],
        CASE WHEN source_event_id IS NOT NULL THEN ARRAY[source_event_id] END, ARRAY[subject_id], ARRAY[occurred_at])
$$;

-- For verbs that publish before a context exists or about the lane itself; not granted to anyone else.
CREATE OR REPLACE FUNCTION datalane.publish_for(
    workspace uuid, actor uuid, correlation text, event_type text, payload jsonb, subject_id text DEFAULT NULL,
    causation uuid DEFAULT NULL, depth integer DEFAULT 0, now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    SELECT event_id FROM datalane.publish_core(
        workspace, ARRAY[event_type], ARRAY[1], ARRAY[payload], ARRAY['datalane'], NULL, ARRAY[subject_id], NULL,
        actor, correlation, causation, depth, false, interval '0', coalesce(now, clock_timestamp()))
$$;

-- Keep a refused delivery in sight: a bad signature or a payload against its schema has no other effect.
CREATE OR REPLACE FUNCTION datalane.record_rejection(
    event_type text, source_system text, source_event_id text, ingestion_status text, detail text,
    now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    recorded uuid := app.uuid7();
BEGIN
    PERFORM datalane.require_rank(2);
    IF ingestion_status NOT IN ('rejected_signature', 'rejected_schema') THEN
        RAISE EXCEPTION 'a rejection is rejected_signature or rejected_schema, not %', ingestion_status USING ERRCODE = 'DL400';
    END IF;
    INSERT INTO datalane.event_ingestion (workspace_id, ingestion_id, event_type, source_system, source_event_id,
                                          ingestion_status, received_at, correlation_id, detail)
    VALUES (app.workspace_id(), recorded, event_type, source_system, source_event_id, ingestion_status,
            coalesce(now, clock_timestamp()), app.correlation_id(), left(detail, 2000));
    RETURN recorded;
END $$;

-- Claim: fair, batched, leased. A lane is one kind of one workspace. A claim walks the lanes that have ready work,
-- beginning after the lane the worker served last, and takes an equal share from each, so that one workspace's
-- million jobs never keep another's one waiting. The plan is pinned: statistics of a queue are always stale.
--
-- A claimed job stays on the ready shelf, so a claim passes over the jobs that others are running, and takes over those
-- whose lease has run out: a lost worker's job is leased again when its turn comes, its attempt unspent.

CREATE OR REPLACE FUNCTION datalane.ready_lanes(
    kinds text[], lanes integer, after_workspace uuid, after_kind text)
RETURNS TABLE (workspace_id uuid, kind text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY WITH RECURSIVE walk AS (
        (SELECT j.workspace_id, j.kind FROM datalane.jobs j
         WHERE j.shelf = 'ready' AND (j.workspace_id, j.kind) > (after_workspace, after_kind)
         ORDER BY j.workspace_id, j.kind LIMIT 1)
        UNION ALL
        SELECT following.workspace_id, following.kind FROM walk CROSS JOIN LATERAL (
            SELECT j.workspace_id, j.kind FROM datalane.jobs j
            WHERE j.shelf = 'ready' AND (j.workspace_id, j.kind) > (walk.workspace_id, walk.kind)
            ORDER BY j.workspace_id, j.kind LIMIT 1) following
    )
    SELECT walk.workspace_id, walk.kind FROM walk
    WHERE walk.kind = ANY (kinds) AND NOT EXISTS (
        SELECT FROM datalane.job_pauses p
        WHERE p.workspace_id IN (walk.workspace_id, '00000000-0000-0000-0000-000000000000')
          AND p.kind IN (walk.kind, '*'))
    LIMIT lanes;
END $$;

-- Claim from lanes of `kinds` onto `shelf`, without regard to bounds on running jobs. A job on its last rescue is held, so
-- that the sweep (rescue_jobs) ends it if its worker is lost once more.
CREATE OR REPLACE FUNCTION datalane.claim_ready(
    kinds text[], batch integer, lease interval, worker text, after_workspace uuid, after_kind text, onto text,
    rescue_bound integer, at timestamptz)
RETURNS TABLE (
    workspace_id uuid, id uuid, kind text, subject_id text, args jsonb, attempt_count integer, max_attempts integer,
    rescue_count integer, lease_token bigint, actor_id uuid, correlation_id text, causation_id uuid,
    causation_depth integer, order_key text, queued_at timestamptz, traceparent text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    workspaces uuid[]; lane_kinds text[]; lanes integer; wanted integer := batch; got integer;
    last_workspace uuid := after_workspace; last_kind text := after_kind; circled boolean := false;
BEGIN
    -- A window of lanes whose jobs are all running says nothing of the lanes behind it: look on until one gives a job.
    LOOP
        SELECT coalesce(array_agg(l.workspace_id), '{}'), coalesce(array_agg(l.kind), '{}') INTO workspaces, lane_kinds
        FROM datalane.ready_lanes(kinds, batch, last_workspace, last_kind) AS l
        WHERE NOT circled OR (l.workspace_id, l.kind) <= (after_workspace, after_kind);
        IF cardinality(workspaces) < batch AND NOT circled
           AND (after_workspace, after_kind) > ('00000000-0000-0000-0000-000000000000'::uuid, '') THEN
            circled := true;
            SELECT workspaces || coalesce(array_agg(l.workspace_id), '{}'), lane_kinds || coalesce(array_agg(l.kind), '{}')
            INTO workspaces, lane_kinds
            FROM datalane.ready_lanes(kinds, batch - cardinality(workspaces), '00000000-0000-0000-0000-000000000000', '') AS l
            WHERE (l.workspace_id, l.kind) <= (after_workspace, after_kind);
        END IF;
        lanes := cardinality(workspaces);
        EXIT WHEN lanes = 0;
        -- A second round gives what small lanes left to those that have more.
        FOR round IN 1 .. 2 LOOP
            RETURN QUERY
                WITH taken AS MATERIALIZED (
                    SELECT j.workspace_id, j.id, j.status = 'processing' AS lost, j.started_at, j.attempt_count, j.lease_token,
                           j.leased_by
                    FROM unnest(workspaces, lane_kinds) AS lane (workspace, kind) CROSS JOIN LATERAL (
                        SELECT c.workspace_id, c.id, c.status, c.started_at, c.attempt_count, c.lease_token, c.leased_by
                        FROM datalane.jobs c
                        WHERE c.workspace_id = lane.workspace AND c.kind = lane.kind AND c.shelf = 'ready'
                          AND (c.lease_until IS NULL OR c.lease_until < at)
                        ORDER BY c.priority DESC, c.next_retry_at, c.id
                        LIMIT CASE round WHEN 1 THEN greatest(1, wanted / lanes) ELSE wanted END
                        FOR UPDATE SKIP LOCKED) j
                    LIMIT wanted
                ), told AS (
                    INSERT INTO datalane.job_transitions (workspace_id, job_id, transition_id, claim, at, from_status, to_status,
                                                          attempt, worker, error_class, reason)
                    SELECT t.workspace_id, t.id, app.uuid7(), t.lease_token, s.at, s.from_status, s.to_status, t.attempt_count,
                           t.leased_by, s.error_class, s.reason
                    FROM taken t CROSS JOIN LATERAL (VALUES
                        (t.started_at, CASE WHEN t.lease_token > 1 THEN 'retrying' ELSE 'queued' END,
                         'processing', NULL, NULL),
                        (at, 'processing', 'retrying', 'lease_lost', 'rescued')) AS s (at, from_status, to_status, error_class, reason)
                    WHERE t.lost
                )
                UPDATE datalane.jobs j
                SET status = 'processing', started_at = at, lease_until = at + lease, lease_token = j.lease_token + 1,
                    leased_by = worker,
                    attempt_count = j.attempt_count + CASE WHEN taken.lost THEN 0 ELSE 1 END,
                    rescue_count = j.rescue_count + CASE WHEN taken.lost THEN 1 ELSE 0 END,
                    shelf = CASE WHEN taken.lost AND j.rescue_count + 1 >= rescue_bound THEN 'held' ELSE onto END
                FROM taken WHERE j.workspace_id = taken.workspace_id AND j.id = taken.id
                RETURNING j.workspace_id, j.id, j.kind, j.subject_id, j.args, j.attempt_count, j.max_attempts,
                          j.rescue_count, j.lease_token, j.actor_id, j.correlation_id, j.causation_id, j.causation_depth,
                          j.order_key, j.queued_at, j.traceparent;
            GET DIAGNOSTICS got = ROW_COUNT;
            wanted := wanted - got;
            EXIT WHEN wanted <= 0 OR got = 0 OR lanes = 1;
        END LOOP;
        EXIT WHEN wanted < batch OR lanes < batch;
        last_workspace := workspaces[lanes];
        last_kind := lane_kinds[lanes];
    END LOOP;
END $$;

-- Jobs whose time has come join the ready ones. Answers how many.
CREATE OR REPLACE FUNCTION datalane.promote_due(at timestamptz, most integer DEFAULT 1000)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    promoted integer := 0;
BEGIN
    IF EXISTS (SELECT FROM datalane.jobs j WHERE j.shelf = 'due' AND j.next_retry_at <= at) THEN
        WITH due AS MATERIALIZED (
            SELECT j.workspace_id, j.id FROM datalane.jobs j WHERE j.shelf = 'due' AND j.next_retry_at <= at
            ORDER BY j.next_retry_at LIMIT most FOR UPDATE SKIP LOCKED
        )
        UPDATE datalane.jobs j SET shelf = 'ready' FROM due WHERE j.workspace_id = due.workspace_id AND j.id = due.id;
        GET DIAGNOSTICS promoted = ROW_COUNT;
    END IF;
    RETURN promoted;
END $$;

-- Claim up to `batch` ready jobs of `kinds` for `worker`, leased for `lease`. `after_workspace` and `after_kind` are the
-- lane served last. A kind with a bound on running jobs is claimed under its row's lock and held, so that they can be
-- counted; when another claim has the lock the kind is left for the next turn. Such a kind remembers the workspace it
-- served last itself, since few of its jobs are taken at a time.
CREATE OR REPLACE FUNCTION datalane.claim_jobs(
    kinds text[], batch integer, lease interval, worker text, after_workspace uuid DEFAULT NULL,
    after_kind text DEFAULT NULL, rescue_bound integer DEFAULT 10, now timestamptz DEFAULT NULL)
RETURNS TABLE (
    workspace_id uuid, id uuid, kind text, subject_id text, args jsonb, attempt_count integer, max_attempts integer,
    rescue_count integer, lease_token bigint, actor_id uuid, correlation_id text, causation_id uuid,
    causation_depth integer, order_key text, queued_at timestamptz, traceparent text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp());
    last_workspace constant uuid := coalesce(after_workspace, '00000000-0000-0000-0000-000000000000');
    last_kind constant text := coalesce(after_kind, '');
    bounded record; taken record; unbounded text[]; room integer; got integer; wanted integer := batch;
BEGIN
    PERFORM datalane.promote_due(at);
    FOR bounded IN
        SELECT k.kind, k.max_running, k.last_workspace FROM datalane.job_kinds k
        WHERE k.kind = ANY (kinds) AND k.max_running IS NOT NULL ORDER BY k.kind FOR UPDATE SKIP LOCKED
    LOOP
        EXIT WHEN wanted <= 0;
        SELECT bounded.max_running - count(*) INTO room FROM datalane.jobs j
        WHERE j.shelf = 'held' AND j.kind = bounded.kind;
        CONTINUE WHEN room <= 0;
        got := 0;
        FOR taken IN
            SELECT c.workspace_id, c.id, c.kind, c.subject_id, c.args, c.attempt_count, c.max_attempts, c.rescue_count,
                   c.lease_token, c.actor_id, c.correlation_id, c.causation_id, c.causation_depth, c.order_key, c.queued_at,
                   c.traceparent
            FROM datalane.claim_ready(ARRAY[bounded.kind], least(room, wanted), lease, worker,
                                      coalesce(bounded.last_workspace, '00000000-0000-0000-0000-000000000000'),
                                      bounded.kind, 'held', rescue_bound, at) c
        LOOP
            workspace_id := taken.workspace_id; id := taken.id; kind := taken.kind; subject_id := taken.subject_id;
            args := taken.args; attempt_count := taken.attempt_count; max_attempts := taken.max_attempts;
            rescue_count := taken.rescue_count; lease_token := taken.lease_token; actor_id := taken.actor_id;
            correlation_id := taken.correlation_id; causation_id := taken.causation_id;
            causation_depth := taken.causation_depth; order_key := taken.order_key; queued_at := taken.queued_at;
            traceparent := taken.traceparent;
            got := got + 1;
            RETURN NEXT;
        END LOOP;
        wanted := wanted - got;
        IF got > 0 THEN
            UPDATE datalane.job_kinds k SET last_workspace = taken.workspace_id WHERE k.kind = bounded.kind;
        END IF;
    END LOOP;
    SELECT array_agg(k) INTO unbounded FROM unnest(kinds) AS k
    WHERE NOT EXISTS (SELECT FROM datalane.job_kinds b WHERE b.kind = k AND b.max_running IS NOT NULL);
    IF unbounded IS NOT NULL AND wanted > 0 THEN
        RETURN QUERY
            SELECT c.workspace_id, c.id, c.kind, c.subject_id, c.args, c.attempt_count, c.max_attempts, c.rescue_count,
                   c.lease_token, c.actor_id, c.correlation_id, c.causation_id, c.causation_depth, c.order_key, c.queued_at,
                   c.traceparent
            FROM datalane.claim_ready(unbounded, wanted, lease, worker, last_workspace, last_kind, 'ready', rescue_bound,
                                      at) c;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION datalane.register_job_kind(kind text, max_running integer DEFAULT NULL)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    INSERT INTO datalane.job_kinds (kind, max_running) VALUES (kind, max_running)
    ON CONFLICT (kind) DO UPDATE SET max_running = EXCLUDED.max_running
    WHERE job_kinds.max_running IS DISTINCT FROM EXCLUDED.max_running
$$;

-- What workers and operators need to see without seeing tenants' rows.

-- When the next delayed job is due, so that an idle worker knows when to look again.
CREATE OR REPLACE FUNCTION datalane.next_due() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT min(j.next_retry_at) FROM datalane.jobs j WHERE j.shelf = 'due'
$$;

-- How many jobs there are of each kind and status, and for how long the oldest of those that could run has waited. It reads
-- the whole table, so whoever asks does so seldom. A dead letter that was replayed counts no more.
CREATE OR REPLACE FUNCTION datalane.count_jobs(now timestamptz DEFAULT NULL)
RETURNS TABLE (kind text, status text, jobs bigint, oldest_wait interval)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    RETURN QUERY SELECT j.kind, j.status, count(*),
        at - min(j.next_retry_at) FILTER (WHERE j.shelf IN ('ready', 'due') AND j.lease_until IS NULL AND j.next_retry_at <= at)
    FROM datalane.jobs j WHERE j.replayed_by IS NULL GROUP BY j.kind, j.status;
END $$;

-- Keys whose window has passed, and ordering keys at rest, are forgotten in bites. Answers how many rows went.
CREATE OR REPLACE FUNCTION datalane.forget_old_keys(
    dedupe_window interval, most integer DEFAULT 10000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); removed integer; total integer;
BEGIN
    DELETE FROM datalane.event_dedupe d USING (
        SELECT o.workspace_id, o.source_system, o.source_event_id FROM datalane.event_dedupe o
        WHERE o.received_at < at - dedupe_window LIMIT most) old
    WHERE d.workspace_id = old.workspace_id AND d.source_system = old.source_system AND d.source_event_id = old.source_event_id;
    GET DIAGNOSTICS total = ROW_COUNT;
    DELETE FROM datalane.job_keys k USING (
        SELECT o.workspace_id, o.idempotency_key FROM datalane.job_keys o WHERE o.created_at < at - dedupe_window LIMIT most) old
    WHERE k.workspace_id = old.workspace_id AND k.idempotency_key = old.idempotency_key;
    GET DIAGNOSTICS removed = ROW_COUNT;
    total := total + removed;
    -- A place that a dead letter still holds must not be given out again.
    DELETE FROM datalane.job_order o WHERE o.head_seq = o.next_seq AND o.touched_at < at - dedupe_window
        AND NOT EXISTS (SELECT FROM datalane.jobs j WHERE j.workspace_id = o.workspace_id AND j.order_key = o.order_key
                        AND j.replayed_by IS NULL);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN total + removed;
END $$;

-- Who may call what. Everything not named here is for the verbs among themselves.

GRANT EXECUTE ON FUNCTION
    datalane.audit(text, text, text, jsonb, jsonb),
    datalane.erase_audit_details(uuid[], text),
    datalane.erase_person_from_audit(uuid, text[], text),
    datalane.enqueue(text, jsonb, text, integer, timestamptz, text, text, integer),
    datalane.enqueue_batch(text[], jsonb[], text[], integer[], timestamptz[], text[], text[], integer[], uuid, text, uuid, integer, timestamptz),
    datalane.publish(text, jsonb, integer, text, text, text, timestamptz),
    datalane.publish_batch(text[], integer[], jsonb[], text[], text[], text[], timestamptz[], uuid, text, uuid, integer, boolean, interval, timestamptz),
    datalane.record_rejection(text, text, text, text, text, timestamptz),
    datalane.complete_jobs(uuid[], bigint[], timestamptz),
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
