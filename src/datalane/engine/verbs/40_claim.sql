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
          AND (p.kind = walk.kind OR p.kind = '*' AND (p.workspace_id <> walk.workspace_id OR walk.kind <> ALL (datalane.operators_kinds()))))
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
