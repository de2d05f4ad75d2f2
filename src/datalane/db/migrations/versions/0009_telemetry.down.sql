SET LOCAL ROLE datalane_definer;
DROP FUNCTION datalane.count_jobs(timestamptz);
DROP FUNCTION datalane.claim_jobs(text[], integer, interval, text, uuid, text, integer, timestamptz);
DROP FUNCTION datalane.claim_ready(text[], integer, interval, text, uuid, text, text, integer, timestamptz);

-- Claim and publish as the engine's first release has them.
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
    IF EXISTS (SELECT FROM unnest(payloads) AS p (payload) WHERE datalane.over_payload_limit(p.payload)) THEN
        RAISE EXCEPTION 'the event payload is over the limit of % bytes (limits.event_payload)', datalane.payload_limit() USING ERRCODE = 'DL413';
    END IF;
    RETURN QUERY SELECT p.ordinal, p.event_id, p.ingestion_status FROM datalane.publish_core(
        app.workspace_id(), event_types, versions, payloads,
        coalesce(source_systems, array_fill('datalane'::text, ARRAY[cardinality(event_types)])),
        source_event_ids, subject_ids, occurred_ats, coalesce(actor_id, app.actor_id()),
        coalesce(correlation_id, app.correlation_id()), causation_id, causation_depth, signature_verified,
        dedupe_window, coalesce(now, clock_timestamp())) AS p;
END $$;

CREATE OR REPLACE FUNCTION datalane.claim_ready(
    kinds text[], batch integer, lease interval, worker text, after_workspace uuid, after_kind text, onto text,
    rescue_bound integer, at timestamptz)
RETURNS TABLE (
    workspace_id uuid, id uuid, kind text, subject_id text, args jsonb, attempt_count integer, max_attempts integer,
    rescue_count integer, lease_token bigint, actor_id uuid, correlation_id text, causation_id uuid,
    causation_depth integer, order_key text, queued_at timestamptz)
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
                          j.order_key, j.queued_at;
            GET DIAGNOSTICS got = ROW_COUNT;
            wanted := wanted - got;
            EXIT WHEN wanted <= 0 OR got = 0 OR lanes = 1;
        END LOOP;
        EXIT WHEN wanted < batch OR lanes < batch;
        last_workspace := workspaces[lanes];
        last_kind := lane_kinds[lanes];
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION datalane.claim_jobs(
    kinds text[], batch integer, lease interval, worker text, after_workspace uuid DEFAULT NULL,
    after_kind text DEFAULT NULL, rescue_bound integer DEFAULT 10, now timestamptz DEFAULT NULL)
RETURNS TABLE (
    workspace_id uuid, id uuid, kind text, subject_id text, args jsonb, attempt_count integer, max_attempts integer,
    rescue_count integer, lease_token bigint, actor_id uuid, correlation_id text, causation_id uuid,
    causation_depth integer, order_key text, queued_at timestamptz)
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
                   c.lease_token, c.actor_id, c.correlation_id, c.causation_id, c.causation_depth, c.order_key, c.queued_at
            FROM datalane.claim_ready(ARRAY[bounded.kind], least(room, wanted), lease, worker,
                                      coalesce(bounded.last_workspace, '00000000-0000-0000-0000-000000000000'),
                                      bounded.kind, 'held', rescue_bound, at) c
        LOOP
            workspace_id := taken.workspace_id; id := taken.id; kind := taken.kind; subject_id := taken.subject_id;
            args := taken.args; attempt_count := taken.attempt_count; max_attempts := taken.max_attempts;
            rescue_count := taken.rescue_count; lease_token := taken.lease_token; actor_id := taken.actor_id;
            correlation_id := taken.correlation_id; causation_id := taken.causation_id;
            causation_depth := taken.causation_depth; order_key := taken.order_key; queued_at := taken.queued_at;
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
                   c.lease_token, c.actor_id, c.correlation_id, c.causation_id, c.causation_depth, c.order_key, c.queued_at
            FROM datalane.claim_ready(unbounded, wanted, lease, worker, last_workspace, last_kind, 'ready', rescue_bound,
                                      at) c;
    END IF;
END $$;

GRANT EXECUTE ON FUNCTION
    datalane.claim_jobs(text[], integer, interval, text, uuid, text, integer, timestamptz)
TO datalane_worker;
SET LOCAL ROLE datalane_owner;

ALTER TABLE datalane.jobs DROP COLUMN traceparent;
DROP FUNCTION app.traceparent();
