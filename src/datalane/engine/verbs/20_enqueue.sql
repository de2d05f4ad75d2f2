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
