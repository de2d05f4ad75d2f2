SET LOCAL ROLE datalane_definer;

-- What several verbs check.

-- The context must name a workspace and hold at least this rank (viewer 1, member 2, admin 3, owner 4).
CREATE OR REPLACE FUNCTION datalane.require_rank(needed integer)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    IF app.workspace_id() IS NULL THEN
        RAISE EXCEPTION 'no workspace: open the transaction through the tenant door' USING ERRCODE = 'DL403';
    END IF;
    IF app.actor_rank() < needed THEN
        RAISE EXCEPTION 'the role may not do this; it takes % or above', (ARRAY['viewer', 'member', 'admin', 'owner'])[needed]
            USING ERRCODE = 'DL403';
    END IF;
END $$;

-- Lane-wide values that also hold for SQL callers. The lane's own connections state those of its settings that differ
-- from these defaults.
CREATE OR REPLACE FUNCTION datalane.causation_limit() RETURNS integer LANGUAGE sql STABLE
    RETURN coalesce(nullif(current_setting('app.causation_limit', true), '')::integer, 16);

CREATE OR REPLACE FUNCTION datalane.payload_limit() RETURNS bigint LANGUAGE sql STABLE
    RETURN coalesce(nullif(current_setting('app.payload_limit', true), '')::bigint, 262144);

-- Attempts of a job whose enqueuer says nothing of them.
CREATE OR REPLACE FUNCTION datalane.default_attempts() RETURNS integer LANGUAGE sql STABLE
    RETURN coalesce(nullif(current_setting('app.default_attempts', true), '')::integer, 3);

-- Whether `payload` as compact JSON is over the limit. The database's own text has a space after each comma and colon,
-- which do not count; they are looked for only where they decide.
CREATE OR REPLACE FUNCTION datalane.over_payload_limit(payload jsonb)
RETURNS boolean LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT CASE
        WHEN pg_column_size(payload) <= datalane.payload_limit() / 2 OR octet_length(payload::text) <= datalane.payload_limit()
            THEN false
        WHEN octet_length(payload::text) > datalane.payload_limit() * 2 THEN true
        ELSE octet_length(payload::text) - (
            SELECT octet_length(bare) - octet_length(replace(bare, ' ', ''))
            FROM regexp_replace(payload::text, '"(?:[^"\\]|\\.)*"', '', 'g') AS bare) > datalane.payload_limit()
    END
$$;

-- Secrets do not reach stored records: the same names as in the service's own redaction.

-- Whether a field of this name holds a secret: `password`, `api_key`, `webhook_secret`; not `token_count`.
CREATE OR REPLACE FUNCTION datalane.is_secret_name(name text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN name ~* 'password|passwd|secret|token|authorization|cookie|api[_-]?key|credential|private[_-]?key|dsn|signature'
        AND name !~* '(_ids?|_count|_at|_verified|idempotency_key|(input|output|cached|total|max|prompt)_tokens)$';

-- `value` with the values of such fields masked at any depth; what is nested deeper than 12 is masked whole.
CREATE OR REPLACE FUNCTION datalane.mask_secrets(value jsonb, depth integer DEFAULT 0)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
BEGIN
    IF jsonb_typeof(value) NOT IN ('object', 'array') THEN
        RETURN value;
    ELSIF depth >= 12 THEN
        RETURN '"[redacted]"';
    ELSIF jsonb_typeof(value) = 'array' THEN
        RETURN (SELECT coalesce(jsonb_agg(datalane.mask_secrets(item, depth + 1) ORDER BY place), '[]')
                FROM jsonb_array_elements(value) WITH ORDINALITY AS element (item, place));
    END IF;
    RETURN (SELECT coalesce(jsonb_object_agg(name, CASE
                WHEN item <> 'null' AND datalane.is_secret_name(name) THEN '"[redacted]"'
                ELSE datalane.mask_secrets(item, depth + 1) END), '{}')
            FROM jsonb_each(value) AS field (name, item));
END $$;

-- `value` as text to store. Most values have no secret in them, so a look at the whole text comes first; it is never
-- let off by one of the harmless endings, as JSON text ends in a bracket or a quote.
CREATE OR REPLACE FUNCTION datalane.redacted_text(value jsonb)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    written constant text := value::text;
BEGIN
    RETURN CASE WHEN datalane.is_secret_name(written) THEN datalane.mask_secrets(value)::text ELSE written END;
END $$;

-- Audit records. The log has no other way in, and no way to change or remove a row.
--
-- What is hashed is framed: each field as its length in four bytes and its bytes, null as the length -1, so that no two
-- records have the same bytes. Times are microseconds since 1970. The form has a name and never changes under it.

CREATE OR REPLACE FUNCTION datalane.framed(field bytea)
RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(int4send(octet_length(field)) || field, int4send(-1));

CREATE OR REPLACE FUNCTION datalane.framed_text(field text)
RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    RETURN datalane.framed(convert_to(field, 'UTF8'));

CREATE OR REPLACE FUNCTION datalane.framed_moment(moment timestamptz)
RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    RETURN datalane.framed(int8send((extract(epoch FROM moment) * 1000000)::bigint));

-- What stands in the log for the values before and after. Without the salt, which goes with them when they are erased,
-- nobody can try out which values they were.
CREATE OR REPLACE FUNCTION datalane.audit_details_digest(salt uuid, before text, after text)
RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    RETURN sha256(datalane.framed_text('datalane.audit_details.1') || datalane.framed(uuid_send(salt))
        || datalane.framed_text(before) || datalane.framed_text(after));

-- For verbs that act before a context exists (sign-up); not granted to anyone else.
CREATE OR REPLACE FUNCTION datalane.audit_for(
    workspace uuid, actor uuid, correlation text, action text, resource_type text, resource_id text,
    before jsonb DEFAULT NULL, after jsonb DEFAULT NULL, now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    id constant uuid := app.uuid7();
    salt uuid; text_before text; text_after text; digest bytea;
BEGIN
    IF before IS NOT NULL OR after IS NOT NULL THEN
        salt := gen_random_uuid();
        text_before := datalane.redacted_text(before);
        text_after := datalane.redacted_text(after);
        digest := datalane.audit_details_digest(salt, text_before, text_after);
        INSERT INTO datalane.audit_details (workspace_id, audit_id, salt, before, after)
        VALUES (workspace, id, salt, text_before::json, text_after::json);
    END IF;
    INSERT INTO datalane.audit_log (workspace_id, audit_id, occurred_at, actor_id, action, resource_type, resource_id,
                                    correlation_id, details_digest)
    VALUES (workspace, id, coalesce(now, clock_timestamp()), actor, action, resource_type, resource_id, correlation, digest);
    RETURN id;
END $$;

-- Leave an audit record of the current context. Answers its id.
CREATE OR REPLACE FUNCTION datalane.audit(
    action text, resource_type text, resource_id text, before jsonb DEFAULT NULL, after jsonb DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.require_rank(1);
    RETURN datalane.audit_for(app.workspace_id(), app.actor_id(), app.correlation_id(), action, resource_type,
                              resource_id, before, after);
END $$;

-- Seals: the audit log of each workspace as a chain of hashes, in batches.
--
-- A row's place is (recorded_xid, audit_id). Rows are taken from below the snapshot's xmin only: every transaction with
-- a smaller id has ended, so nothing can commit into a place that a seal has passed. Writers know nothing of seals.

CREATE OR REPLACE FUNCTION datalane.audit_row_hash(entry datalane.audit_log)
RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    RETURN sha256(datalane.framed_text('datalane.audit_log.1') || datalane.framed(uuid_send((entry).workspace_id))
        || datalane.framed(uuid_send((entry).audit_id)) || datalane.framed_moment((entry).occurred_at)
        || datalane.framed(uuid_send((entry).actor_id)) || datalane.framed_text((entry).action)
        || datalane.framed_text((entry).resource_type) || datalane.framed_text((entry).resource_id)
        || datalane.framed_text((entry).correlation_id) || datalane.framed(int8send((entry).recorded_xid))
        || datalane.framed((entry).details_digest));

-- `manifest` is one row after the other: 16 bytes of its id, 32 of its hash.
CREATE OR REPLACE FUNCTION datalane.audit_seal_hash(
    workspace uuid, seal_no bigint, first_position bigint, last_position bigint, last_xid bigint, last_audit_id uuid,
    manifest bytea, previous_hash bytea, sealed_at timestamptz)
RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    RETURN sha256(datalane.framed_text('datalane.audit_seal.1') || datalane.framed(uuid_send(workspace))
        || datalane.framed(int8send(seal_no)) || datalane.framed(int8send(first_position))
        || datalane.framed(int8send(last_position)) || datalane.framed(int8send(last_xid))
        || datalane.framed(uuid_send(last_audit_id)) || datalane.framed(manifest) || datalane.framed(previous_hash)
        || datalane.framed_moment(sealed_at));

-- Below this id every transaction has ended.
CREATE OR REPLACE FUNCTION datalane.settled_xid()
RETURNS bigint LANGUAGE sql STABLE
    RETURN pg_snapshot_xmin(pg_current_snapshot())::text::bigint;

-- Up to `most` workspaces above `after_workspace` that have rows to seal, in order.
CREATE OR REPLACE FUNCTION datalane.unsealed_workspaces(after_workspace uuid DEFAULT NULL, most integer DEFAULT 100)
RETURNS SETOF uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    here uuid; listed integer := 0; sealed_xid bigint; sealed_id uuid;
BEGIN
    IF after_workspace IS NULL THEN
        SELECT a.workspace_id INTO here FROM datalane.audit_log a ORDER BY a.workspace_id LIMIT 1;
    ELSE
        SELECT a.workspace_id INTO here FROM datalane.audit_log a
        WHERE a.workspace_id > after_workspace ORDER BY a.workspace_id LIMIT 1;
    END IF;
    WHILE here IS NOT NULL AND listed < most LOOP
        SELECT s.last_xid, s.last_audit_id INTO sealed_xid, sealed_id FROM datalane.audit_seals s
        WHERE s.workspace_id = here ORDER BY s.seal_no DESC LIMIT 1;
        IF EXISTS (
            SELECT FROM datalane.audit_log a
            WHERE a.workspace_id = here AND a.recorded_xid < datalane.settled_xid()
              AND (a.recorded_xid, a.audit_id)
                  > (coalesce(sealed_xid, 0), coalesce(sealed_id, '00000000-0000-0000-0000-000000000000')))
        THEN
            listed := listed + 1;
            RETURN NEXT here;
        END IF;
        SELECT a.workspace_id INTO here FROM datalane.audit_log a
        WHERE a.workspace_id > here ORDER BY a.workspace_id LIMIT 1;
    END LOOP;
END $$;

-- Seal the next `most` rows of a workspace. Answers how many: 0 when there are none, or another sealer was faster.
CREATE OR REPLACE FUNCTION datalane.seal_audit(workspace uuid, most integer DEFAULT 1000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    last record; batch record; at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    SELECT coalesce(max(s.seal_no), 0) AS seal_no, coalesce(max(s.last_position), 0) AS position,
           coalesce(max(s.last_xid), 0) AS xid,
           coalesce((array_agg(s.last_audit_id))[1], '00000000-0000-0000-0000-000000000000') AS audit_id,
           coalesce((array_agg(s.seal_hash))[1], decode(repeat('00', 32), 'hex')) AS hash
    INTO last FROM (SELECT s.seal_no, s.last_position, s.last_xid, s.last_audit_id, s.seal_hash FROM datalane.audit_seals s
                    WHERE s.workspace_id = workspace ORDER BY s.seal_no DESC LIMIT 1) AS s;
    SELECT count(*)::integer AS size,
           string_agg(uuid_send(entry.audit_id) || entry.hash, ''::bytea ORDER BY entry.recorded_xid, entry.audit_id) AS manifest,
           max(entry.recorded_xid) AS xid,
           (array_agg(entry.audit_id ORDER BY entry.recorded_xid DESC, entry.audit_id DESC))[1] AS audit_id
    INTO batch FROM (
        SELECT a.recorded_xid, a.audit_id, datalane.audit_row_hash(a) AS hash FROM datalane.audit_log a
        WHERE a.workspace_id = workspace AND a.recorded_xid < datalane.settled_xid()
          AND (a.recorded_xid, a.audit_id) > (last.xid, last.audit_id)
        ORDER BY a.recorded_xid, a.audit_id LIMIT most) AS entry;
    IF batch.size = 0 THEN
        RETURN 0;
    END IF;
    INSERT INTO datalane.audit_seals (workspace_id, seal_no, first_position, last_position, last_xid, last_audit_id, manifest,
                                      previous_hash, seal_hash, sealed_at)
    VALUES (workspace, last.seal_no + 1, last.position + 1, last.position + batch.size, batch.xid, batch.audit_id,
            batch.manifest, last.hash,
            datalane.audit_seal_hash(workspace, last.seal_no + 1, last.position + 1, last.position + batch.size, batch.xid,
                                     batch.audit_id, batch.manifest, last.hash, at), at)
    ON CONFLICT (workspace_id, seal_no) DO NOTHING;
    RETURN CASE WHEN FOUND THEN batch.size ELSE 0 END;
END $$;

-- Erasing the values of audit records. The rows stay, so the chain stays whole; a record says which ones lost theirs.

-- Erase the details of up to 1,000 records. Records of erasing keep theirs. Answers how many lost theirs. Not granted:
-- also for the verb that will erase a whole workspace.
CREATE OR REPLACE FUNCTION datalane.erase_audit_details_for(
    workspace uuid, actor uuid, correlation text, audit_ids uuid[], reason text)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    erased uuid[];
BEGIN
    IF cardinality(audit_ids) > 1000 THEN
        RAISE EXCEPTION 'at most 1000 records a call, these are %', cardinality(audit_ids) USING ERRCODE = 'DL413';
    END IF;
    IF coalesce(length(reason), 0) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'erasing takes a reason of 1 to 200 characters' USING ERRCODE = 'DL400';
    END IF;
    WITH gone AS (
        DELETE FROM datalane.audit_details d USING datalane.audit_log a
        WHERE d.workspace_id = workspace AND d.audit_id = ANY (audit_ids)
          AND a.workspace_id = workspace AND a.audit_id = d.audit_id AND a.action <> 'audit.details_erased'
        RETURNING d.audit_id)
    SELECT array_agg(gone.audit_id ORDER BY gone.audit_id) INTO erased FROM gone;
    IF erased IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM datalane.audit_for(workspace, actor, correlation, 'audit.details_erased', 'audit', NULL, NULL,
                               jsonb_build_object('audit_ids', to_jsonb(erased), 'reason', reason));
    RETURN cardinality(erased);
END $$;

-- Erase the details of these records of the current workspace.
CREATE OR REPLACE FUNCTION datalane.erase_audit_details(audit_ids uuid[], reason text)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.require_rank(4);
    RETURN datalane.erase_audit_details_for(app.workspace_id(), app.actor_id(), app.correlation_id(), audit_ids, reason);
END $$;

-- Erase the details of every record about a person: those whose resource is the person, and those whose values name
-- the person's id or one of `mentions` (an address, a name).
CREATE OR REPLACE FUNCTION datalane.erase_person_from_audit(person uuid, mentions text[], reason text)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    named text[]; batch uuid[]; erased integer := 0;
BEGIN
    PERFORM datalane.require_rank(4);
    IF person IS NULL OR '' = ANY (mentions) THEN
        RAISE EXCEPTION 'name a person; a mention must not be empty' USING ERRCODE = 'DL400';
    END IF;
    SELECT array_agg(substr(to_json(mention)::text, 2, length(to_json(mention)::text) - 2)) INTO named
    FROM unnest(mentions || person::text) AS mention WHERE mention IS NOT NULL;
    LOOP
        SELECT array_agg(found.audit_id) INTO batch FROM (
            SELECT d.audit_id FROM datalane.audit_details d
            JOIN datalane.audit_log a ON a.workspace_id = d.workspace_id AND a.audit_id = d.audit_id
            WHERE d.workspace_id = app.workspace_id() AND a.action <> 'audit.details_erased'
              AND (a.resource_id = person::text OR EXISTS (
                  SELECT FROM unnest(named) AS one WHERE strpos(concat(d.before::text, ' ', d.after::text), one) > 0))
            LIMIT 1000) AS found;
        EXIT WHEN batch IS NULL;
        erased := erased + datalane.erase_audit_details_for(
            app.workspace_id(), app.actor_id(), app.correlation_id(), batch, reason);
    END LOOP;
    RETURN erased;
END $$;

-- Enqueue: jobs in, in the caller's own transaction.

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

-- What an operator does: retry, replay, cancel, skip, pause. Each takes admin rank in the job's workspace and leaves an
-- audit record.

-- `failed` goes back to work in place, with one more attempt if it has none left.
CREATE OR REPLACE FUNCTION datalane.retry_jobs(ids uuid[], now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); job datalane.jobs; retried integer := 0;
BEGIN
    PERFORM datalane.require_rank(3);
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

-- Pause and resume one kind of the context's workspace, or all of it (`*`). Claims heed it at once.
CREATE OR REPLACE FUNCTION datalane.pause_jobs(kind text DEFAULT '*')
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
BEGIN
    PERFORM datalane.require_rank(3);
    INSERT INTO datalane.job_pauses (workspace_id, kind, actor_id) VALUES (app.workspace_id(), kind, app.actor_id())
    ON CONFLICT DO NOTHING;
    PERFORM datalane.audit('jobs.paused', 'job_kind', kind);
END $$;

CREATE OR REPLACE FUNCTION datalane.resume_jobs(kind text DEFAULT '*')
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.require_rank(3);
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

-- Schedules: the worker reads what is due, computes the next time from the cron expression, and fires with the time it
-- saw; of two workers that saw the same, one wins. One without a next time (`following` NULL) is switched off. Runs missed while nothing ran are made up for once.

CREATE OR REPLACE FUNCTION datalane.due_schedules(most integer DEFAULT 100, now timestamptz DEFAULT NULL)
RETURNS TABLE (workspace_id uuid, name text, cron text, timezone text, next_run_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT s.workspace_id, s.name, s.cron, s.timezone, s.next_run_at FROM datalane.job_schedules s
    WHERE s.enabled AND s.next_run_at <= coalesce(now, clock_timestamp()) ORDER BY s.next_run_at LIMIT most
$$;

CREATE OR REPLACE FUNCTION datalane.fire_schedule(
    workspace uuid, schedule text, seen timestamptz, following timestamptz, correlation text, now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); fired record; job uuid;
BEGIN
    IF following IS NULL THEN
        UPDATE datalane.job_schedules s SET enabled = false
        WHERE s.workspace_id = workspace AND s.name = schedule AND s.next_run_at = seen;
        RETURN NULL;
    END IF;
    UPDATE datalane.job_schedules s SET next_run_at = following, last_run_at = at
    WHERE s.workspace_id = workspace AND s.name = schedule AND s.next_run_at = seen AND s.enabled
    RETURNING s.kind, s.args, s.actor_id INTO fired;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT e.job_id INTO job FROM datalane.enqueue_core(
        workspace, ARRAY[fired.kind], ARRAY[fired.args], NULL, NULL, NULL, NULL,
        ARRAY[format('schedule:%s:%s', schedule, extract(epoch FROM seen)::bigint)], NULL, fired.actor_id, correlation,
        NULL, 0, NULL, at) AS e;
    RETURN job;
END $$;

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
