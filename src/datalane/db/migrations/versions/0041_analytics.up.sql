-- The events that the application tracks in every workspace. A version never changes, and may be retired.
CREATE TABLE datalane.tracked_events (
    event_name text NOT NULL,
    event_version integer NOT NULL CONSTRAINT versions_begin_at_one CHECK (event_version > 0),
    tracking_id uuid NOT NULL,
    json_schema jsonb NOT NULL,
    owner text NOT NULL,
    description text NOT NULL,
    registered_at timestamptz NOT NULL,
    retired_at timestamptz,
    retired_reason text CONSTRAINT reasons_are_short CHECK (length(retired_reason) BETWEEN 1 AND 500),
    PRIMARY KEY (event_name, event_version),
    CONSTRAINT what_is_retired_says_why CHECK ((retired_at IS NULL) = (retired_reason IS NULL))
);
SELECT app.protect('datalane.tracked_events', 'global', verbs => 'SELECT, INSERT, UPDATE');

-- What a workspace tracks besides. A version is added and never changes, and an event of the application takes the place of one that has
-- its name.
CREATE TABLE datalane.tracking_plan (
    workspace_id uuid NOT NULL,
    event_name text NOT NULL CONSTRAINT names_are_short CHECK (length(event_name) BETWEEN 1 AND 200),
    event_version integer NOT NULL CONSTRAINT versions_begin_at_one CHECK (event_version > 0),
    tracking_id uuid NOT NULL,
    json_schema jsonb NOT NULL CONSTRAINT a_schema_is_an_object CHECK (jsonb_typeof(json_schema) = 'object'),
    owner text NOT NULL CONSTRAINT owners_are_short CHECK (length(owner) BETWEEN 1 AND 200),
    description text NOT NULL CONSTRAINT descriptions_are_short CHECK (length(description) <= 2000),
    registered_at timestamptz NOT NULL,
    registered_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, event_name, event_version),
    CONSTRAINT one_entry_per_tracking_id UNIQUE (workspace_id, tracking_id)
);
SELECT app.protect('datalane.tracking_plan', 'decided');

-- Versions that are not tracked any more.
CREATE TABLE datalane.tracking_retirements (
    workspace_id uuid NOT NULL,
    event_name text NOT NULL,
    event_version integer NOT NULL,
    reason text NOT NULL CONSTRAINT reasons_are_short CHECK (length(reason) BETWEEN 1 AND 500),
    retired_at timestamptz NOT NULL,
    retired_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, event_name, event_version),
    CONSTRAINT what_is_retired_was_tracked FOREIGN KEY (workspace_id, event_name, event_version)
        REFERENCES datalane.tracking_plan (workspace_id, event_name, event_version)
);
SELECT app.protect('datalane.tracking_retirements', 'decided');

-- Events that are valid. `plan_id` and `entitlement_snapshot` are what was enforced when it happened, `observed_snapshot` what the client
-- says that it saw. `subject` is who did it, `actor_id` who told of it.
CREATE TABLE datalane.analytics_events (
    workspace_id uuid NOT NULL,
    source_event_id text COLLATE "C" NOT NULL CONSTRAINT source_ids_are_short CHECK (length(source_event_id) BETWEEN 1 AND 200),
    event_name text COLLATE "C" NOT NULL CONSTRAINT names_are_short CHECK (length(event_name) BETWEEN 1 AND 200),
    event_version integer NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    subject text COLLATE "C" NOT NULL CONSTRAINT subjects_are_short CHECK (length(subject) BETWEEN 1 AND 200),
    actor_id uuid NOT NULL,
    correlation_id text NOT NULL,
    plan_id text COLLATE "C",
    entitlement_snapshot jsonb NOT NULL,
    observed_snapshot jsonb,
    payload_validation_status text NOT NULL CONSTRAINT what_is_kept_here_is_valid CHECK (payload_validation_status = 'valid'),
    payload jsonb NOT NULL,
    PRIMARY KEY (workspace_id, source_event_id)
);
CREATE INDEX analytics_events_by_name ON datalane.analytics_events (workspace_id, event_name, occurred_at) INCLUDE (subject, plan_id);
CREATE INDEX analytics_events_by_time ON datalane.analytics_events (workspace_id, occurred_at) INCLUDE (subject);
CREATE INDEX analytics_events_by_receipt ON datalane.analytics_events (received_at);
SELECT app.protect('datalane.analytics_events', 'log', verbs => 'SELECT, INSERT, DELETE', operator_columns =>
    '{workspace_id,event_name,event_version,occurred_at,received_at,plan_id,payload_validation_status}');

-- Events that are held back, as they came; `repaired` is what an admin put in the place of the name, the version and the payload. A row
-- whose event has landed stays, so that the same event is known when it comes again. Nobody changes a row but by the verbs.
CREATE TABLE datalane.analytics_quarantine (
    workspace_id uuid NOT NULL,
    source_event_id text COLLATE "C" NOT NULL CONSTRAINT source_ids_are_short CHECK (length(source_event_id) BETWEEN 1 AND 200),
    event_name text COLLATE "C" NOT NULL CONSTRAINT names_are_short CHECK (length(event_name) BETWEEN 1 AND 200),
    event_version integer NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    subject text COLLATE "C" NOT NULL CONSTRAINT subjects_are_short CHECK (length(subject) BETWEEN 1 AND 200),
    actor_id uuid NOT NULL,
    correlation_id text NOT NULL,
    observed_snapshot jsonb,
    payload jsonb NOT NULL,
    payload_validation_status text NOT NULL CONSTRAINT payload_validation_status_is_known
        CHECK (payload_validation_status IN ('valid', 'missing_required_fields', 'invalid_schema')),
    reasons jsonb NOT NULL,
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('held', 'landed', 'discarded')),
    repaired jsonb CONSTRAINT what_is_repaired_is_an_event CHECK (repaired IS NULL OR coalesce(
        jsonb_typeof(repaired -> 'event_name') = 'string' AND jsonb_typeof(repaired -> 'event_version') = 'number'
        AND jsonb_typeof(repaired -> 'payload') = 'object', false)),
    note text CONSTRAINT notes_are_short CHECK (length(note) <= 500),
    version bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, source_event_id)
);
CREATE INDEX analytics_quarantine_by_time ON datalane.analytics_quarantine (workspace_id, status, occurred_at, source_event_id);
CREATE INDEX analytics_quarantine_by_receipt ON datalane.analytics_quarantine (received_at);
SELECT app.protect('datalane.analytics_quarantine', 'log', verbs => 'SELECT, INSERT, UPDATE, DELETE', operator_columns =>
    '{workspace_id,event_name,event_version,occurred_at,received_at,payload_validation_status,status,updated_at}');

-- What a client saw and what was enforced, where the two differ: one row an event. `differs` names the fields.
CREATE TABLE datalane.integrity_anomalies (
    workspace_id uuid NOT NULL,
    anomaly_id uuid NOT NULL,
    source_event_id text COLLATE "C" NOT NULL,
    event_name text COLLATE "C" NOT NULL,
    expected_plan_id text,
    observed_plan_id text,
    expected_snapshot jsonb NOT NULL,
    observed_snapshot jsonb NOT NULL,
    differs text[] NOT NULL,
    correlation_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    detected_at timestamptz NOT NULL,
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('open', 'resolved')),
    resolved_at timestamptz,
    resolved_by text,
    resolution text CONSTRAINT resolutions_are_short CHECK (length(resolution) BETWEEN 1 AND 500),
    PRIMARY KEY (workspace_id, anomaly_id),
    CONSTRAINT one_anomaly_per_event UNIQUE (workspace_id, source_event_id),
    CONSTRAINT what_is_resolved_says_why CHECK (
        (status = 'resolved') = (resolution IS NOT NULL) AND (resolution IS NULL) = (resolved_by IS NULL)
        AND (resolution IS NULL) = (resolved_at IS NULL))
);
CREATE INDEX integrity_anomalies_by_status ON datalane.integrity_anomalies (workspace_id, status, anomaly_id);
CREATE INDEX integrity_anomalies_by_resolution ON datalane.integrity_anomalies (resolved_at) WHERE resolved_at IS NOT NULL;
SELECT app.protect('datalane.integrity_anomalies', 'log', verbs => 'SELECT, INSERT, UPDATE, DELETE', operator_columns =>
    '{workspace_id,anomaly_id,event_name,expected_plan_id,observed_plan_id,differs,correlation_id,occurred_at,detected_at,status,resolved_at,resolved_by}');

SET LOCAL ROLE datalane_definer;

-- An event that the application tracks in every workspace. Owner and description may be put in other words; a version that is retired stays so.
CREATE FUNCTION datalane.register_tracked_event(name text, version integer, schema jsonb, in_charge text, about text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(41, 1);
    INSERT INTO datalane.tracked_events AS t (event_name, event_version, tracking_id, json_schema, owner, description, registered_at)
    VALUES (name, version, app.uuid7(), schema, in_charge, about, clock_timestamp())
    ON CONFLICT (event_name, event_version) DO UPDATE SET owner = EXCLUDED.owner, description = EXCLUDED.description
    WHERE t.json_schema = EXCLUDED.json_schema AND (t.owner, t.description) IS DISTINCT FROM (EXCLUDED.owner, EXCLUDED.description);
    IF EXISTS (SELECT FROM datalane.tracked_events t WHERE t.event_name = name AND t.event_version = version AND t.json_schema <> schema) THEN
        RAISE EXCEPTION 'the tracked event % version % has another schema in the database; raise its version', name, version
            USING ERRCODE = 'DL409';
    END IF;
    IF (SELECT count(*) FROM datalane.tracked_events t WHERE t.event_name = name) > 50 THEN
        RAISE EXCEPTION 'the tracked event % has 50 versions, and no event has more; track another name', name USING ERRCODE = 'DL413';
    END IF;
END $$;

-- Events of this version are held back from now on, in every workspace. Answers whether it was tracked until now.
CREATE FUNCTION datalane.retire_tracked_event(name text, version integer, reason text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    UPDATE datalane.tracked_events t SET retired_at = clock_timestamp(), retired_reason = reason
    WHERE t.event_name = name AND t.event_version = version AND t.retired_at IS NULL;
    IF FOUND THEN
        RETURN true;
    END IF;
    PERFORM FROM datalane.tracked_events t WHERE t.event_name = name AND t.event_version = version;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the application tracks no version % of %', version, left(name, 200) USING ERRCODE = 'DL404';
    END IF;
    RETURN false;
END $$;

-- What the application tracks in every workspace: events of some names, or all of them.
CREATE FUNCTION datalane.read_tracked_events(names text[] DEFAULT NULL)
RETURNS TABLE (
    tracking_id uuid, event_name text, event_version integer, json_schema jsonb, owner text, description text, registered_at timestamptz,
    retired_at timestamptz, retired_reason text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    PERFORM datalane.require_rank(1);
    RETURN QUERY SELECT t.tracking_id, t.event_name, t.event_version, t.json_schema, t.owner, t.description, t.registered_at, t.retired_at,
        t.retired_reason
    FROM datalane.tracked_events t WHERE names IS NULL OR t.event_name = ANY (names);
END $$;

-- What was enforced in the workspace of the context from `since` to `until`; where no plan held, its fields are null.
CREATE FUNCTION datalane.enforced_snapshots(since timestamptz, until timestamptz)
RETURNS TABLE (starts_at timestamptz, ends_at timestamptz, plan_id text, snapshot jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' ROWS 2 AS $$
    SELECT t.starts_at, t.ends_at, t.plan_id,
           jsonb_build_object('plan_id', t.plan_id, 'plan_version', t.plan_version, 'status', t.status, 'features', t.features)
    FROM datalane.plan_timeline(since, until) AS t
$$;

-- Events whose ids are taken, by what is known under them: `duplicate` where it is the same event, held back or not, else `conflict`. What is
-- `mended` was held back itself, so that only what landed says the same.
CREATE FUNCTION datalane.analytics_told_before(
    source_event_ids text[], event_names text[], event_versions integer[], occurred_ats timestamptz[], subjects text[],
    observed jsonb[], payloads jsonb[], except_for text[], mended boolean)
RETURNS TABLE (ordinal bigint, outcome text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT i.ordinal, CASE WHEN
        (e.event_name, e.event_version, e.occurred_at, e.subject, e.payload) = (i.name, i.version, i.occurred, i.subject, i.payload)
            AND e.observed_snapshot IS NOT DISTINCT FROM i.seen
        OR (q.event_name, q.event_version, q.occurred_at, q.subject, q.payload) = (i.name, i.version, i.occurred, i.subject, i.payload)
            AND q.observed_snapshot IS NOT DISTINCT FROM i.seen
        THEN 'duplicate' ELSE 'conflict' END
    FROM unnest(source_event_ids, event_names, event_versions, occurred_ats, subjects, observed, payloads) WITH ORDINALITY
        AS i (source_id, name, version, occurred, subject, seen, payload, ordinal)
    LEFT JOIN datalane.analytics_events e ON e.workspace_id = app.workspace_id() AND e.source_event_id = i.source_id
    LEFT JOIN datalane.analytics_quarantine q ON q.workspace_id = app.workspace_id() AND q.source_event_id = i.source_id AND NOT mended
    WHERE i.source_id <> ALL (except_for)
$$;

-- Raises for events that did not happen between `first` and `last`, for payloads and what clients saw that are no objects, and for those that
-- are too large.
CREATE FUNCTION datalane.check_analytics(
    occurred_ats timestamptz[], observed jsonb[], payloads jsonb[], first timestamptz, last timestamptz)
RETURNS void LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF EXISTS (SELECT FROM unnest(occurred_ats) AS o (moment) WHERE o.moment NOT BETWEEN first AND last) THEN
        RAISE EXCEPTION 'an event happens between % and %', first, last USING ERRCODE = 'DL400';
    END IF;
    IF EXISTS (SELECT FROM unnest(payloads) AS p (payload) WHERE jsonb_typeof(p.payload) <> 'object')
            OR EXISTS (SELECT FROM unnest(observed) AS o (seen) WHERE jsonb_typeof(o.seen) <> 'object') THEN
        RAISE EXCEPTION 'a payload, and what a client saw, is an object' USING ERRCODE = 'DL400';
    END IF;
    IF EXISTS (SELECT FROM unnest(payloads) AS p (payload)
               WHERE pg_column_size(p.payload) > datalane.payload_limit() / 2 AND datalane.over_payload_limit(p.payload)) THEN
        RAISE EXCEPTION 'the event payload is over the limit of % bytes (limits.event_payload)', datalane.payload_limit() USING ERRCODE = 'DL413';
    END IF;
    IF EXISTS (SELECT FROM unnest(observed) AS o (seen) WHERE pg_column_size(o.seen) > 1048576) THEN
        RAISE EXCEPTION 'what a client saw is over the limit of a mebibyte' USING ERRCODE = 'DL413';
    END IF;
END $$;

-- Raises unless each of the reasons is a list, and no large one.
CREATE FUNCTION datalane.check_reasons(reasons jsonb[])
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
BEGIN
    IF EXISTS (SELECT FROM unnest(reasons) AS r (reason) WHERE jsonb_typeof(r.reason) <> 'array' OR pg_column_size(r.reason) > 65536) THEN
        RAISE EXCEPTION 'reasons are a list of at most 64 KiB' USING ERRCODE = 'DL400';
    END IF;
END $$;

-- Raises for a tolerance that is none, or beyond what the setting may be (access.analytics.snapshot_tolerance).
CREATE FUNCTION datalane.check_tolerance(tolerance interval)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
BEGIN
    IF tolerance IS NULL OR tolerance NOT BETWEEN interval '0' AND interval '1 day' THEN
        RAISE EXCEPTION 'a tolerance is at most a day' USING ERRCODE = 'DL400';
    END IF;
END $$;

-- The core, not granted to anyone: valid events with what was enforced when they happened. Answers a row, with its place, for each that
-- was not stored, `duplicate` or `conflict`, and a row `anomaly` for each that was and whose client saw what was not enforced at any moment
-- within `tolerance`. What is `mended` was held back: who told of it, and when, is what it was.
CREATE FUNCTION datalane.store_analytics(
    source_event_ids text[], event_names text[], event_versions integer[], occurred_ats timestamptz[], subjects text[],
    observed jsonb[], payloads jsonb[], tolerance interval, mended boolean, actor uuid, correlation text, at timestamptz)
RETURNS TABLE (ordinal bigint, outcome text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    workspace constant uuid := app.workspace_id();
    since timestamptz; until timestamptz; stored text[]; differing text[];
    starts timestamptz[]; ends timestamptz[]; plans text[]; snapshots jsonb[];
BEGIN
    -- As far back as the setting goes (access.analytics.oldest), and a day ahead with an hour for clocks that differ.
    PERFORM datalane.check_analytics(occurred_ats, observed, payloads, at - interval '3651 days', at + interval '25 hours');
    -- An event that is ahead of our clock is judged by what was enforced when it came.
    SELECT min(least(o.moment, at)) - tolerance, max(least(o.moment, at)) + tolerance + interval '1 microsecond'
    INTO since, until FROM unnest(occurred_ats) AS o (moment);
    IF mended THEN
        SELECT least(since, min(q.received_at) - tolerance) INTO since FROM datalane.analytics_quarantine q
        WHERE q.workspace_id = workspace AND q.source_event_id = ANY (source_event_ids);
    END IF;
    SELECT array_agg(s.starts_at), array_agg(s.ends_at), array_agg(s.plan_id), array_agg(s.snapshot)
    INTO starts, ends, plans, snapshots FROM datalane.enforced_snapshots(since, until) AS s;
    WITH landed AS (
        INSERT INTO datalane.analytics_events AS e (
            workspace_id, source_event_id, event_name, event_version, occurred_at, received_at, subject, actor_id, correlation_id,
            plan_id, entitlement_snapshot, observed_snapshot, payload_validation_status, payload)
        SELECT workspace, i.source_id, i.name, i.version, i.occurred, coalesce(q.received_at, at), i.subject,
               coalesce(q.actor_id, actor, app.actor_id()), coalesce(q.correlation_id, correlation, app.correlation_id()), p.plan,
               p.snapshot, i.seen, 'valid', i.payload
        FROM unnest(source_event_ids, event_names, event_versions, occurred_ats, subjects, observed, payloads)
            AS i (source_id, name, version, occurred, subject, seen, payload)
        LEFT JOIN datalane.analytics_quarantine q ON q.workspace_id = workspace AND q.source_event_id = i.source_id
        JOIN unnest(starts, ends, plans, snapshots) AS p (begins, over, plan, snapshot)
            ON least(i.occurred, coalesce(q.received_at, at)) >= p.begins AND least(i.occurred, coalesce(q.received_at, at)) < p.over
        WHERE q.source_event_id IS NULL OR mended AND q.status = 'held'
        ORDER BY i.source_id
        ON CONFLICT (workspace_id, source_event_id) DO NOTHING
        RETURNING e.source_event_id,
                  NOT e.entitlement_snapshot @> e.observed_snapshot OR e.observed_snapshot ? 'features'
                      AND e.observed_snapshot -> 'features' <> e.entitlement_snapshot -> 'features' AS differs
    )
    SELECT coalesce(array_agg(l.source_event_id), '{}'), array_agg(l.source_event_id) FILTER (WHERE l.differs) INTO stored, differing
    FROM landed l;
    IF cardinality(stored) < cardinality(source_event_ids) THEN
        RETURN QUERY SELECT t.ordinal, t.outcome FROM datalane.analytics_told_before(
            source_event_ids, event_names, event_versions, occurred_ats, subjects, observed, payloads, stored, mended) AS t;
    END IF;
    IF differing IS NOT NULL THEN
        RETURN QUERY WITH found AS (
            INSERT INTO datalane.integrity_anomalies AS a (
                workspace_id, anomaly_id, source_event_id, event_name, expected_plan_id, observed_plan_id, expected_snapshot,
                observed_snapshot, differs, correlation_id, occurred_at, detected_at, status)
            SELECT workspace, app.uuid7(), e.source_event_id, e.event_name, e.plan_id, e.observed_snapshot ->> 'plan_id',
                   e.entitlement_snapshot, e.observed_snapshot,
                   ARRAY(SELECT s.key FROM jsonb_each(e.observed_snapshot) AS s (key, value)
                         WHERE s.value IS DISTINCT FROM e.entitlement_snapshot -> s.key ORDER BY s.key),
                   e.correlation_id, e.occurred_at, at, 'open'
            FROM unnest(differing) AS l (source_id)
            JOIN datalane.analytics_events e ON e.workspace_id = workspace AND e.source_event_id = l.source_id
            WHERE NOT EXISTS (
                SELECT FROM unnest(starts, ends, snapshots) AS p (begins, over, snapshot)
                WHERE p.begins <= least(e.occurred_at, e.received_at) + tolerance AND p.over > least(e.occurred_at, e.received_at) - tolerance
                  AND p.snapshot || e.observed_snapshot = p.snapshot)
            ORDER BY e.source_event_id
            ON CONFLICT (workspace_id, source_event_id) DO NOTHING
            RETURNING a.source_event_id
        )
        SELECT array_position(source_event_ids, f.source_event_id)::bigint, 'anomaly' FROM found f;
    END IF;
END $$;

-- Tell of valid events. Answers as `store_analytics`.
CREATE FUNCTION datalane.record_analytics(
    source_event_ids text[], event_names text[], event_versions integer[], occurred_ats timestamptz[], subjects text[],
    observed jsonb[], payloads jsonb[], tolerance interval, actor uuid DEFAULT NULL, correlation text DEFAULT NULL,
    now timestamptz DEFAULT NULL)
RETURNS TABLE (ordinal bigint, outcome text) LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.require_rank(2);
    PERFORM datalane.check_tolerance(tolerance);
    RETURN QUERY SELECT s.ordinal, s.outcome FROM datalane.store_analytics(
        source_event_ids, event_names, event_versions, occurred_ats, subjects, observed, payloads, tolerance, false, actor, correlation,
        datalane.told_time(now)) AS s;
END $$;

-- Hold events back, with the reasons. Answers a row for each that is not held by this: `duplicate` or `conflict`.
CREATE FUNCTION datalane.hold_analytics(
    source_event_ids text[], event_names text[], event_versions integer[], occurred_ats timestamptz[], subjects text[],
    observed jsonb[], payloads jsonb[], statuses text[], reasons jsonb[], actor uuid DEFAULT NULL, correlation text DEFAULT NULL,
    now timestamptz DEFAULT NULL)
RETURNS TABLE (ordinal bigint, outcome text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    workspace constant uuid := app.workspace_id();
    at timestamptz; held text[];
BEGIN
    PERFORM datalane.require_rank(2);
    at := datalane.told_time(now);
    -- What is held back for its time has any that clients can write.
    PERFORM datalane.check_analytics(occurred_ats, observed, payloads, '0001-01-01Z', '9999-12-31 23:59:59.999999Z');
    PERFORM datalane.check_reasons(reasons);
    WITH kept AS (
        INSERT INTO datalane.analytics_quarantine AS q (
            workspace_id, source_event_id, event_name, event_version, occurred_at, received_at, subject, actor_id, correlation_id,
            observed_snapshot, payload, payload_validation_status, reasons, status, updated_at)
        SELECT workspace, i.source_id, i.name, i.version, i.occurred, at, i.subject, coalesce(actor, app.actor_id()),
               coalesce(correlation, app.correlation_id()), i.seen, i.payload, i.status, i.reasons, 'held', at
        FROM unnest(source_event_ids, event_names, event_versions, occurred_ats, subjects, observed, payloads, statuses, reasons)
            AS i (source_id, name, version, occurred, subject, seen, payload, status, reasons)
        WHERE NOT EXISTS (
            SELECT FROM datalane.analytics_events e WHERE e.workspace_id = workspace AND e.source_event_id = i.source_id)
        ORDER BY i.source_id
        ON CONFLICT (workspace_id, source_event_id) DO NOTHING
        RETURNING q.source_event_id
    )
    SELECT coalesce(array_agg(k.source_event_id), '{}') INTO held FROM kept k;
    IF cardinality(held) < cardinality(source_event_ids) THEN
        RETURN QUERY SELECT t.ordinal, t.outcome FROM datalane.analytics_told_before(
            source_event_ids, event_names, event_versions, occurred_ats, subjects, observed, payloads, held, false) AS t;
    END IF;
END $$;

-- Some that are held back, as they were repaired, in the order in which they happened; nobody else takes them until the transaction ends. There
-- are at most `most`, and none behind the one, not the first, with which their payloads pass `most_bytes`.
CREATE FUNCTION datalane.take_analytics(
    only_name text, only_status text, only_ids text[], since timestamptz, until timestamptz, place timestamptz, behind text,
    most integer, most_bytes bigint)
RETURNS TABLE (
    source_event_id text, event_name text, event_version integer, occurred_at timestamptz, subject text, observed text, payload text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    held record; rows integer := 0; bytes bigint := 0;
BEGIN
    PERFORM datalane.require_rank(3);
    FOR held IN
        SELECT q.source_event_id, q.event_name, q.event_version, q.occurred_at, q.subject, q.observed_snapshot, q.repaired, q.payload
        FROM datalane.analytics_quarantine q
        WHERE q.workspace_id = app.workspace_id() AND q.status = 'held' AND (only_name IS NULL OR q.event_name = only_name)
          AND (only_status IS NULL OR q.payload_validation_status = only_status)
          AND (only_ids IS NULL OR q.source_event_id = ANY (only_ids))
          AND (since IS NULL OR q.occurred_at >= since) AND (until IS NULL OR q.occurred_at < until)
          AND (place IS NULL OR (q.occurred_at, q.source_event_id) > (place, behind))
        ORDER BY q.occurred_at, q.source_event_id LIMIT least(most, 1001) FOR UPDATE
    LOOP
        source_event_id := held.source_event_id;
        event_name := coalesce(held.repaired ->> 'event_name', held.event_name);
        event_version := coalesce((held.repaired ->> 'event_version')::integer, held.event_version);
        occurred_at := held.occurred_at;
        subject := held.subject;
        observed := held.observed_snapshot::text;
        payload := coalesce(held.repaired -> 'payload', held.payload)::text;
        RETURN NEXT;
        rows := rows + 1;
        bytes := bytes + octet_length(payload);
        EXIT WHEN rows > 1 AND bytes > most_bytes;
    END LOOP;
END $$;

-- Store events that were held back and are valid now, as they were repaired. Answers a row for each that was held: `landed`, or `conflict`
-- where another event has its id, which leaves it held.
CREATE FUNCTION datalane.land_analytics(source_event_ids text[], tolerance interval, now timestamptz DEFAULT NULL)
RETURNS TABLE (source_event_id text, outcome text, anomaly boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    workspace constant uuid := app.workspace_id();
    at timestamptz; ids text[]; names text[]; versions integer[]; moments timestamptz[]; subjects text[]; seen jsonb[]; payloads jsonb[];
    conflicts text[]; anomalies text[]; landed text[];
BEGIN
    PERFORM datalane.require_rank(3);
    PERFORM datalane.check_tolerance(tolerance);
    at := datalane.told_time(now);
    SELECT array_agg(h.id), array_agg(h.name), array_agg(h.version), array_agg(h.moment), array_agg(h.subject), array_agg(h.seen),
           array_agg(h.payload)
    INTO ids, names, versions, moments, subjects, seen, payloads
    FROM (
        SELECT q.source_event_id, coalesce(q.repaired ->> 'event_name', q.event_name),
               coalesce((q.repaired ->> 'event_version')::integer, q.event_version), q.occurred_at, q.subject, q.observed_snapshot,
               coalesce(q.repaired -> 'payload', q.payload)
        FROM datalane.analytics_quarantine q
        WHERE q.workspace_id = workspace AND q.source_event_id = ANY (source_event_ids) AND q.status = 'held'
        ORDER BY q.source_event_id FOR UPDATE) AS h (id, name, version, moment, subject, seen, payload);
    IF ids IS NULL THEN
        RETURN;
    END IF;
    SELECT coalesce(array_agg(ids[s.ordinal]) FILTER (WHERE s.outcome = 'conflict'), '{}'),
           coalesce(array_agg(ids[s.ordinal]) FILTER (WHERE s.outcome = 'anomaly'), '{}')
    INTO conflicts, anomalies
    FROM datalane.store_analytics(ids, names, versions, moments, subjects, seen, payloads, tolerance, true, NULL, NULL, at) AS s;
    landed := ARRAY(SELECT i.id FROM unnest(ids) AS i (id) WHERE i.id <> ALL (conflicts));
    UPDATE datalane.analytics_quarantine q SET status = 'landed', version = q.version + 1, updated_at = at
    WHERE q.workspace_id = workspace AND q.source_event_id = ANY (landed);
    IF cardinality(landed) > 0 THEN
        PERFORM datalane.audit('analytics.replayed', 'analytics_quarantine', NULL, NULL, jsonb_build_object('landed', landed));
    END IF;
    RETURN QUERY SELECT i.id, CASE WHEN i.id = ANY (conflicts) THEN 'conflict' ELSE 'landed' END, i.id = ANY (anomalies)
    FROM unnest(ids) AS i (id);
END $$;

-- Put another name, version or payload in the place of what came. Answers the version that the row has now; null where it is not held any
-- more, or not at the version that was seen.
CREATE FUNCTION datalane.repair_analytics(
    source_event_id text, seen_version bigint, event_name text, event_version integer, payload jsonb, note text, status text, reasons jsonb,
    now timestamptz DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at timestamptz; before jsonb; after jsonb;
BEGIN
    PERFORM datalane.require_rank(3);
    at := datalane.told_time(now);
    PERFORM datalane.check_analytics('{}', '{}', ARRAY[payload], at, at);
    PERFORM datalane.check_reasons(ARRAY[reasons]);
    IF event_name IS NULL OR length(event_name) NOT BETWEEN 1 AND 200 OR event_version IS NULL OR event_version < 1 OR payload IS NULL
            OR note IS NULL OR length(note) NOT BETWEEN 1 AND 500 THEN
        RAISE EXCEPTION 'a repair has a name, a version from 1, a payload and a note of 1 to 500 characters' USING ERRCODE = 'DL400';
    END IF;
    SELECT coalesce(q.repaired, jsonb_build_object('event_name', q.event_name, 'event_version', q.event_version, 'payload', q.payload))
    INTO before FROM datalane.analytics_quarantine q
    WHERE q.workspace_id = workspace AND q.source_event_id = source_event_id AND q.status = 'held' AND q.version = seen_version FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    after := jsonb_build_object('event_name', event_name, 'event_version', event_version, 'payload', payload);
    UPDATE datalane.analytics_quarantine q
    SET repaired = after, note = repair_analytics.note, payload_validation_status = repair_analytics.status,
        reasons = repair_analytics.reasons, version = q.version + 1, updated_at = at
    WHERE q.workspace_id = workspace AND q.source_event_id = source_event_id;
    PERFORM datalane.audit(
        'analytics.repaired', 'analytics_event', source_event_id, before, after || jsonb_build_object('note', note));
    RETURN seen_version + 1;
END $$;

-- Say anew why events are held back. Answers of how many that is something else.
CREATE FUNCTION datalane.explain_analytics(source_event_ids text[], statuses text[], reasons jsonb[], now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    at timestamptz; total integer;
BEGIN
    PERFORM datalane.require_rank(3);
    at := datalane.told_time(now);
    PERFORM datalane.check_reasons(reasons);
    UPDATE datalane.analytics_quarantine q
    SET payload_validation_status = i.status, reasons = i.reasons, version = q.version + 1, updated_at = at
    FROM unnest(source_event_ids, statuses, explain_analytics.reasons) AS i (source_id, status, reasons)
    WHERE q.workspace_id = app.workspace_id() AND q.source_event_id = i.source_id AND q.status = 'held' AND q.reasons <> i.reasons;
    GET DIAGNOSTICS total = ROW_COUNT;
    RETURN total;
END $$;

-- Give events up that are held back. Answers how many.
CREATE FUNCTION datalane.discard_analytics(source_event_ids text[], reason text, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    at timestamptz; discarded text[];
BEGIN
    PERFORM datalane.require_rank(3);
    at := datalane.told_time(now);
    IF reason IS NULL OR length(reason) NOT BETWEEN 1 AND 500 THEN
        RAISE EXCEPTION 'what is given up has a reason of 1 to 500 characters' USING ERRCODE = 'DL400';
    END IF;
    WITH held AS (
        SELECT q.workspace_id, q.source_event_id FROM datalane.analytics_quarantine q
        WHERE q.workspace_id = app.workspace_id() AND q.source_event_id = ANY (source_event_ids) AND q.status = 'held'
        ORDER BY q.source_event_id FOR UPDATE
    ), gone AS (
        UPDATE datalane.analytics_quarantine q SET status = 'discarded', note = reason, version = q.version + 1, updated_at = at FROM held h
        WHERE q.workspace_id = h.workspace_id AND q.source_event_id = h.source_event_id
        RETURNING q.source_event_id
    )
    SELECT coalesce(array_agg(g.source_event_id), '{}') INTO discarded FROM gone g;
    IF cardinality(discarded) > 0 THEN
        PERFORM datalane.audit(
            'analytics.discarded', 'analytics_quarantine', NULL, NULL, jsonb_build_object('reason', reason, 'discarded', discarded));
    END IF;
    RETURN cardinality(discarded);
END $$;

-- The operator has found the cause of an anomaly. Answers whether it was open.
CREATE FUNCTION datalane.resolve_integrity_anomaly(anomaly uuid, resolved_by text, reason text, now timestamptz DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.require_rank(5);
    UPDATE datalane.integrity_anomalies a
    SET status = 'resolved', resolved_at = datalane.told_time(now), resolved_by = resolve_integrity_anomaly.resolved_by,
        resolution = reason
    WHERE a.workspace_id = app.workspace_id() AND a.anomaly_id = anomaly AND a.status = 'open';
    IF FOUND THEN
        RETURN true;
    END IF;
    PERFORM FROM datalane.integrity_anomalies a WHERE a.workspace_id = app.workspace_id() AND a.anomaly_id = anomaly;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such anomaly' USING ERRCODE = 'DL404';
    END IF;
    RETURN false;
END $$;

-- Events that were received and happened longer than `kept` ago go, in bites, the first received first: none is young enough then to be taken
-- again. Answers how many.
CREATE FUNCTION datalane.forget_analytics_events(kept interval, most integer DEFAULT 10000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
DECLARE
    bound constant timestamptz := greatest(coalesce(now, clock_timestamp()) - kept, 'epoch'); total integer;
BEGIN
    DELETE FROM datalane.analytics_events e USING (
        SELECT o.workspace_id, o.source_event_id FROM datalane.analytics_events o
        WHERE o.received_at < bound AND o.occurred_at < bound ORDER BY o.received_at LIMIT most) o
    WHERE e.workspace_id = o.workspace_id AND e.source_event_id = o.source_event_id;
    GET DIAGNOSTICS total = ROW_COUNT;
    RETURN total;
END $$;

-- What was held back goes as the events do, whatever became of it.
CREATE FUNCTION datalane.forget_analytics_quarantine(kept interval, most integer DEFAULT 10000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
DECLARE
    bound constant timestamptz := greatest(coalesce(now, clock_timestamp()) - kept, 'epoch'); total integer;
BEGIN
    DELETE FROM datalane.analytics_quarantine q USING (
        SELECT o.workspace_id, o.source_event_id FROM datalane.analytics_quarantine o
        WHERE o.received_at < bound ORDER BY o.received_at LIMIT most) o
    WHERE q.workspace_id = o.workspace_id AND q.source_event_id = o.source_event_id;
    GET DIAGNOSTICS total = ROW_COUNT;
    RETURN total;
END $$;

-- Anomalies that were resolved longer than `kept` ago go; open ones stay.
CREATE FUNCTION datalane.forget_integrity_anomalies(kept interval, most integer DEFAULT 10000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
DECLARE
    bound constant timestamptz := greatest(coalesce(now, clock_timestamp()) - kept, 'epoch'); total integer;
BEGIN
    DELETE FROM datalane.integrity_anomalies a USING (
        SELECT o.workspace_id, o.anomaly_id FROM datalane.integrity_anomalies o
        WHERE o.resolved_at < bound ORDER BY o.resolved_at LIMIT most) o
    WHERE a.workspace_id = o.workspace_id AND a.anomaly_id = o.anomaly_id;
    GET DIAGNOSTICS total = ROW_COUNT;
    RETURN total;
END $$;

REVOKE ALL ON FUNCTION
    datalane.register_tracked_event(text, integer, jsonb, text, text),
    datalane.retire_tracked_event(text, integer, text),
    datalane.read_tracked_events(text[]),
    datalane.enforced_snapshots(timestamptz, timestamptz),
    datalane.analytics_told_before(text[], text[], integer[], timestamptz[], text[], jsonb[], jsonb[], text[], boolean),
    datalane.check_analytics(timestamptz[], jsonb[], jsonb[], timestamptz, timestamptz),
    datalane.check_reasons(jsonb[]),
    datalane.check_tolerance(interval),
    datalane.store_analytics(
        text[], text[], integer[], timestamptz[], text[], jsonb[], jsonb[], interval, boolean, uuid, text, timestamptz),
    datalane.record_analytics(text[], text[], integer[], timestamptz[], text[], jsonb[], jsonb[], interval, uuid, text, timestamptz),
    datalane.hold_analytics(text[], text[], integer[], timestamptz[], text[], jsonb[], jsonb[], text[], jsonb[], uuid, text, timestamptz),
    datalane.take_analytics(text, text, text[], timestamptz, timestamptz, timestamptz, text, integer, bigint),
    datalane.land_analytics(text[], interval, timestamptz),
    datalane.repair_analytics(text, bigint, text, integer, jsonb, text, text, jsonb, timestamptz),
    datalane.explain_analytics(text[], text[], jsonb[], timestamptz),
    datalane.discard_analytics(text[], text, timestamptz),
    datalane.resolve_integrity_anomaly(uuid, text, text, timestamptz),
    datalane.forget_analytics_events(interval, integer, timestamptz),
    datalane.forget_analytics_quarantine(interval, integer, timestamptz),
    datalane.forget_integrity_anomalies(interval, integer, timestamptz)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    datalane.register_tracked_event(text, integer, jsonb, text, text),
    datalane.retire_tracked_event(text, integer, text)
TO datalane_worker;
GRANT EXECUTE ON FUNCTION
    datalane.read_tracked_events(text[]),
    datalane.record_analytics(text[], text[], integer[], timestamptz[], text[], jsonb[], jsonb[], interval, uuid, text, timestamptz),
    datalane.hold_analytics(text[], text[], integer[], timestamptz[], text[], jsonb[], jsonb[], text[], jsonb[], uuid, text, timestamptz),
    datalane.take_analytics(text, text, text[], timestamptz, timestamptz, timestamptz, text, integer, bigint),
    datalane.land_analytics(text[], interval, timestamptz),
    datalane.repair_analytics(text, bigint, text, integer, jsonb, text, text, jsonb, timestamptz),
    datalane.explain_analytics(text[], text[], jsonb[], timestamptz),
    datalane.discard_analytics(text[], text, timestamptz),
    datalane.resolve_integrity_anomaly(uuid, text, text, timestamptz)
TO datalane_app;
GRANT EXECUTE ON FUNCTION
    datalane.forget_analytics_events(interval, integer, timestamptz),
    datalane.forget_analytics_quarantine(interval, integer, timestamptz),
    datalane.forget_integrity_anomalies(interval, integer, timestamptz)
TO datalane_maintenance;
SET LOCAL ROLE datalane_owner;
