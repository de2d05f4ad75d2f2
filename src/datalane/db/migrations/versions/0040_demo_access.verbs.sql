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
    IF kinds && datalane.operators_kinds() THEN
        PERFORM datalane.require_rank(5);
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
    ELSIF kind = ANY (datalane.operators_kinds()) THEN
        PERFORM datalane.require_rank(5);
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
    PERFORM datalane.require_operator(ids);
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
    PERFORM datalane.require_operator(ARRAY[job_id]);
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

-- Complete one job: what `complete_jobs` does for many, at half the cost where a transaction holds one job only, which is
-- how work that is spread thinly over many workspaces comes.

-- Inside a tenant transaction. Raises lease_lost, which rolls the transaction back, unless the job was still held.
CREATE OR REPLACE FUNCTION datalane.complete_job(job_id uuid, token bigint, now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off AS $$
DECLARE
    workspace constant uuid := app.workspace_id();
    at constant timestamptz := coalesce(now, clock_timestamp());
    done datalane.jobs;
BEGIN
    PERFORM datalane.require_rank(2);
    DELETE FROM datalane.jobs j
    WHERE j.workspace_id = workspace AND j.id = job_id AND j.lease_token = token AND j.status = 'processing'
    RETURNING j.* INTO done;
    IF done.id IS NULL THEN
        RAISE EXCEPTION 'the lease of job % was lost', job_id USING ERRCODE = 'DL410';
    ELSIF done.kind = ANY (datalane.operators_kinds()) THEN
        PERFORM datalane.require_rank(5);
    END IF;
    INSERT INTO datalane.job_history (
        workspace_id, id, kind, subject_id, priority, args, attempt_count, max_attempts, rescue_count, queued_at,
        started_at, completed_at, lease_token, leased_by, order_key, order_seq, idempotency_key, correlation_id, causation_id,
        causation_depth, actor_id, parent_job_id, last_error_class, last_error_message)
    VALUES (
        workspace, done.id, done.kind, done.subject_id, done.priority, done.args, done.attempt_count, done.max_attempts,
        done.rescue_count, done.queued_at, done.started_at, at, done.lease_token, done.leased_by, done.order_key,
        done.order_seq, done.idempotency_key, done.correlation_id, done.causation_id, done.causation_depth, done.actor_id,
        done.parent_job_id, done.last_error_class, done.last_error_message);
    IF done.order_key IS NOT NULL THEN
        PERFORM datalane.advance_order(workspace, done.order_key, done.order_seq, at);
    END IF;
END $$;

-- What an operator does: retry, replay, cancel, skip, pause. Each takes admin rank in the job's workspace and leaves an
-- audit record.

-- Kinds of jobs by which the lane does to a workspace what its own admins might rather not have done: settle and reconcile its access, and
-- take signals of it. Only the operator of the lane ends, brings back or pauses them.
CREATE OR REPLACE FUNCTION datalane.operators_kinds() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY['access.reconcile', 'access.settle', 'on:access.signaled'];

-- Who is not the operator of the lane is let through only when none of these jobs is of such a kind.
CREATE OR REPLACE FUNCTION datalane.require_operator(ids uuid[])
RETURNS void LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    IF current_setting('app.actor_role', true) IS DISTINCT FROM 'system' AND EXISTS (
        SELECT FROM datalane.jobs j
        WHERE j.workspace_id = app.workspace_id() AND j.id = ANY (ids) AND j.kind = ANY (datalane.operators_kinds())) THEN
        PERFORM datalane.require_rank(5);
    END IF;
END $$;

-- `failed` goes back to work in place, with one more attempt if it has none left.
CREATE OR REPLACE FUNCTION datalane.retry_jobs(ids uuid[], now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; retried integer := 0;
BEGIN
    PERFORM datalane.require_rank(3);
    PERFORM datalane.require_operator(ids);
    FOR job IN
        SELECT j.* FROM datalane.jobs j
        WHERE j.workspace_id = app.workspace_id() AND j.id = ANY (ids) AND j.status = 'failed' ORDER BY j.id FOR UPDATE
    LOOP
        UPDATE datalane.jobs j
        SET status = 'retrying', shelf = 'ready', next_retry_at = at, max_attempts = greatest(j.max_attempts, j.attempt_count + 1)
        WHERE j.workspace_id = job.workspace_id AND j.id = job.id;
        INSERT INTO datalane.job_transitions (workspace_id, job_id, transition_id, claim, at, from_status, to_status,
                                              attempt, reason)
        VALUES (job.workspace_id, job.id, app.uuid7(), job.lease_token, at, 'failed', 'retrying', job.attempt_count,
                'operator_retry');
        PERFORM datalane.audit('job.retried', 'job', job.id::text);
        retried := retried + 1;
    END LOOP;
    RETURN retried;
END $$;

-- Dead letters start again as new jobs: a new id and idempotency key, `parent_job_id` tells the lineage, an ordered job
-- takes its parent's place in line, or the last one when the line has passed it. A dead letter is replayed once; replay the new job if that dies too.
CREATE OR REPLACE FUNCTION datalane.replay_jobs(ids uuid[], now timestamptz DEFAULT NULL)
RETURNS TABLE (parent_id uuid, job_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; child uuid; head bigint;
BEGIN
    PERFORM datalane.require_rank(3);
    PERFORM datalane.require_operator(ids);
    FOR job IN
        SELECT j.* FROM datalane.jobs j
        WHERE j.workspace_id = app.workspace_id() AND j.id = ANY (ids) AND j.status = 'dead_letter'
          AND j.replayed_by IS NULL ORDER BY j.id FOR UPDATE
    LOOP
        child := app.uuid7();
        IF job.order_key IS NOT NULL THEN
            SELECT o.head_seq INTO head FROM datalane.job_order o
            WHERE o.workspace_id = job.workspace_id AND o.order_key = job.order_key;
            IF head IS NULL OR job.order_seq < head THEN
                INSERT INTO datalane.job_order AS o (workspace_id, order_key, next_seq, head_seq, touched_at)
                VALUES (job.workspace_id, job.order_key, 1, 0, at)
                ON CONFLICT (workspace_id, order_key) DO UPDATE SET next_seq = o.next_seq + 1, touched_at = at
                RETURNING o.next_seq - 1, o.head_seq INTO job.order_seq, head;
            END IF;
        END IF;
        UPDATE datalane.jobs j SET replayed_by = child WHERE j.workspace_id = job.workspace_id AND j.id = job.id;
        INSERT INTO datalane.jobs (workspace_id, id, kind, subject_id, priority, args, max_attempts, queued_at, next_retry_at,
                                   order_key, order_seq, shelf, idempotency_key, correlation_id, causation_id,
                                   causation_depth, actor_id, parent_job_id)
        VALUES (job.workspace_id, child, job.kind, job.subject_id, job.priority, job.args, job.max_attempts, at, at,
                job.order_key, job.order_seq,
                CASE WHEN job.order_key IS NOT NULL AND job.order_seq > head THEN 'order' ELSE 'ready' END,
                'replay:' || child, job.correlation_id, job.causation_id, job.causation_depth, job.actor_id, job.id);
        PERFORM datalane.audit('job.replayed', 'job', job.id::text, NULL, jsonb_build_object('job_id', child));
        parent_id := job.id;
        job_id := child;
        RETURN NEXT;
    END LOOP;
END $$;

-- Cancel whatever has not ended: the job becomes a dead letter with reason `canceled`, a running handler loses its
-- lease, and the next job of its ordering key may run. Answers how many.
CREATE OR REPLACE FUNCTION datalane.cancel_jobs(ids uuid[], now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; canceled integer := 0;
BEGIN
    PERFORM datalane.require_rank(3);
    PERFORM datalane.require_operator(ids);
    FOR job IN
        SELECT j.* FROM datalane.jobs j
        WHERE j.workspace_id = app.workspace_id() AND j.id = ANY (ids) AND j.status <> 'dead_letter' ORDER BY j.id FOR UPDATE
    LOOP
        IF job.status = 'processing' THEN
            PERFORM datalane.record_attempt(job, 'retrying', NULL, NULL, 'canceled', at);
            job.status := 'retrying';
        END IF;
        PERFORM datalane.bury_job(job, job.status, 'canceled', NULL, NULL, at);
        PERFORM datalane.audit('job.canceled', 'job', job.id::text);
        IF job.order_key IS NOT NULL THEN
            PERFORM datalane.advance_order(job.workspace_id, job.order_key, job.order_seq, at);
        END IF;
        canceled := canceled + 1;
    END LOOP;
    RETURN canceled;
END $$;

-- Let the jobs behind a dead or failed head of an ordering key go on without it. Answers whether it was the head.
CREATE OR REPLACE FUNCTION datalane.skip_job(job_id uuid, now timestamptz DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; head bigint;
BEGIN
    PERFORM datalane.require_rank(3);
    PERFORM datalane.require_operator(ARRAY[job_id]);
    SELECT j.* INTO job FROM datalane.jobs j
    WHERE j.workspace_id = app.workspace_id() AND j.id = job_id AND j.status IN ('dead_letter', 'failed')
      AND j.order_key IS NOT NULL FOR UPDATE;
    SELECT o.head_seq INTO head FROM datalane.job_order o
    WHERE o.workspace_id = job.workspace_id AND o.order_key = job.order_key;
    IF job.id IS NULL OR head IS DISTINCT FROM job.order_seq THEN
        RETURN false;
    END IF;
    IF job.status = 'failed' THEN
        PERFORM datalane.bury_job(job, 'failed', 'skipped', NULL, NULL, at);
    END IF;
    PERFORM datalane.advance_order(job.workspace_id, job.order_key, job.order_seq, at);
    PERFORM datalane.audit('job.skipped', 'job', job_id::text);
    RETURN true;
END $$;

-- Pause and resume one kind of the context's workspace, or all of it (`*`) but the kinds that are the operator's, who pauses those by
-- name. Claims heed it at once.
CREATE OR REPLACE FUNCTION datalane.pause_jobs(kind text DEFAULT '*')
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
BEGIN
    PERFORM datalane.require_rank(3);
    IF kind = ANY (datalane.operators_kinds()) THEN
        PERFORM datalane.require_rank(5);
    END IF;
    INSERT INTO datalane.job_pauses (workspace_id, kind, actor_id) VALUES (app.workspace_id(), kind, app.actor_id())
    ON CONFLICT DO NOTHING;
    PERFORM datalane.audit('jobs.paused', 'job_kind', kind);
END $$;

CREATE OR REPLACE FUNCTION datalane.resume_jobs(kind text DEFAULT '*')
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.require_rank(3);
    IF kind = ANY (datalane.operators_kinds()) THEN
        PERFORM datalane.require_rank(5);
    END IF;
    DELETE FROM datalane.job_pauses p WHERE p.workspace_id = app.workspace_id() AND p.kind = resume_jobs.kind;
    PERFORM datalane.audit('jobs.resumed', 'job_kind', resume_jobs.kind);
END $$;

-- The same for a kind in every workspace; the worker role's, so no tenant can. There is no context to ask who it is, so the
-- caller says it; the audit record is the reserved workspace's.
CREATE OR REPLACE FUNCTION datalane.pause_kind_everywhere(kind text, actor uuid, correlation text)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    INSERT INTO datalane.job_pauses (workspace_id, kind, actor_id)
    VALUES ('00000000-0000-0000-0000-000000000000', kind, actor) ON CONFLICT DO NOTHING;
    SELECT datalane.audit_for('00000000-0000-0000-0000-000000000000', actor, correlation, 'jobs.paused', 'job_kind', kind)
$$;

CREATE OR REPLACE FUNCTION datalane.resume_kind_everywhere(kind text, actor uuid, correlation text)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    DELETE FROM datalane.job_pauses p
    WHERE p.workspace_id = '00000000-0000-0000-0000-000000000000' AND p.kind = resume_kind_everywhere.kind;
    SELECT datalane.audit_for('00000000-0000-0000-0000-000000000000', actor, correlation, 'jobs.resumed', 'job_kind', kind)
$$;

-- Who may call what. Everything not named here is for the verbs among themselves.

GRANT EXECUTE ON FUNCTION
    datalane.audit(text, text, text, jsonb, jsonb),
    datalane.erase_audit_details(uuid[], text),
    datalane.erase_person_from_audit(uuid, text[], text),
    datalane.admins_kinds(),
    datalane.operators_kinds(),
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
