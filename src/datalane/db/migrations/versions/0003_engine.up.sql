-- Events -------------------------------------------------------------------------------------------------------

CREATE TABLE datalane.event_types (
    event_type text NOT NULL,
    version integer NOT NULL CONSTRAINT versions_begin_at_one CHECK (version > 0),
    json_schema jsonb NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (event_type, version)
);
SELECT app.protect('datalane.event_types', 'global', verbs => 'SELECT, INSERT, UPDATE');

-- Append-only. Nothing has a foreign key to it, so that retention can drop a month at once.
CREATE TABLE datalane.events (
    workspace_id uuid NOT NULL,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    version integer NOT NULL,
    source_system text NOT NULL,
    source_event_id text NOT NULL,
    subject_id text,
    actor_id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    correlation_id text NOT NULL,
    causation_id uuid,
    causation_depth integer NOT NULL DEFAULT 0,
    payload jsonb NOT NULL,
    signature_verified boolean NOT NULL DEFAULT false,
    ingestion_status text NOT NULL DEFAULT 'accepted' CONSTRAINT stored_events_are_accepted
        CHECK (ingestion_status = 'accepted'),
    recorded_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (workspace_id, event_id)
) PARTITION BY RANGE (event_id);
SELECT app.protect('datalane.events', 'log', verbs => 'SELECT, INSERT', operator_columns =>
    '{workspace_id,event_id,event_type,version,source_system,occurred_at,received_at,correlation_id,causation_depth}');

CREATE TABLE datalane.event_dedupe (
    workspace_id uuid NOT NULL,
    source_system text NOT NULL,
    source_event_id text NOT NULL,
    event_id uuid NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, source_system, source_event_id)
);
SELECT app.protect('datalane.event_dedupe', 'system', verbs => 'SELECT, INSERT, UPDATE, DELETE');

-- Every received attempt, duplicates and rejected ones too.
CREATE TABLE datalane.event_ingestion (
    workspace_id uuid NOT NULL,
    ingestion_id uuid NOT NULL,
    event_id uuid,
    event_type text NOT NULL,
    source_system text NOT NULL,
    source_event_id text,
    ingestion_status text NOT NULL CONSTRAINT ingestion_status_is_known CHECK (ingestion_status IN
        ('accepted', 'duplicate', 'duplicate_suspected', 'rejected_signature', 'rejected_schema')),
    received_at timestamptz NOT NULL,
    correlation_id text NOT NULL,
    detail text,
    PRIMARY KEY (workspace_id, ingestion_id)
) PARTITION BY RANGE (ingestion_id);
SELECT app.protect('datalane.event_ingestion', 'log', verbs => 'SELECT, INSERT', operator_columns =>
    '{workspace_id,ingestion_id,event_id,event_type,source_system,ingestion_status,received_at,correlation_id}');

-- Which job kind an event starts: for one workspace …
CREATE TABLE datalane.subscriptions (
    workspace_id uuid NOT NULL,
    subscription_id uuid NOT NULL DEFAULT app.uuid7(),
    event_type text NOT NULL,
    kind text NOT NULL,
    args jsonb NOT NULL DEFAULT '{}' CONSTRAINT args_are_an_object CHECK (jsonb_typeof(args) = 'object'),
    ordered boolean NOT NULL DEFAULT false,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workspace_id, subscription_id)
);
CREATE INDEX subscriptions_by_type ON datalane.subscriptions (workspace_id, event_type) WHERE enabled;
SELECT app.protect('datalane.subscriptions', 'tenant', verbs => 'SELECT');

-- … and for every workspace (handlers that the application registers in code).
CREATE TABLE datalane.event_handlers (
    event_type text NOT NULL,
    kind text NOT NULL,
    ordered boolean NOT NULL DEFAULT false,
    PRIMARY KEY (event_type, kind)
);
SELECT app.protect('datalane.event_handlers', 'global', verbs => 'SELECT, INSERT, UPDATE, DELETE');

-- Jobs ---------------------------------------------------------------------------------------------------------

-- Small and mutable: work that is not completed. A completed job moves to job_history in the same statement.
CREATE TABLE datalane.jobs (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    subject_id text,
    status text NOT NULL DEFAULT 'queued' CONSTRAINT job_status_is_known
        CHECK (status IN ('queued', 'processing', 'retrying', 'failed', 'dead_letter')),
    shelf text NOT NULL DEFAULT 'ready' CONSTRAINT shelf_is_known
        CHECK (shelf IN ('ready', 'due', 'order', 'held', 'stopped')),
    priority smallint NOT NULL DEFAULT 0,
    args jsonb NOT NULL DEFAULT '{}',
    attempt_count integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL DEFAULT 3 CONSTRAINT at_least_one_attempt CHECK (max_attempts > 0),
    rescue_count integer NOT NULL DEFAULT 0,
    queued_at timestamptz NOT NULL,
    started_at timestamptz,
    next_retry_at timestamptz NOT NULL,
    lease_token bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    leased_by text,
    order_key text,
    order_seq bigint,
    idempotency_key text,
    correlation_id text NOT NULL,
    causation_id uuid,
    causation_depth integer NOT NULL DEFAULT 0,
    actor_id uuid NOT NULL,
    parent_job_id uuid,
    replayed_by uuid,
    last_error_class text,
    last_error_message text,
    dead_lettered_at timestamptz,
    dead_letter_reason text,
    PRIMARY KEY (workspace_id, id),
    CONSTRAINT lease_or_not_processing CHECK ((status = 'processing') = (lease_until IS NOT NULL)),
    CONSTRAINT dead_letters_say_why CHECK ((status = 'dead_letter') = (dead_letter_reason IS NOT NULL)),
    CONSTRAINT ordered_jobs_have_a_place CHECK ((order_key IS NULL) = (order_seq IS NULL)),
    CONSTRAINT only_unclaimed_jobs_wait CHECK (shelf NOT IN ('due', 'order') OR status IN ('queued', 'retrying')),
    CONSTRAINT only_running_jobs_are_held CHECK (shelf <> 'held' OR status = 'processing'),
    CONSTRAINT stopped_jobs_are_on_their_shelf CHECK ((shelf = 'stopped') = (status IN ('failed', 'dead_letter')))
) WITH (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
        autovacuum_analyze_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0);
-- Which index a job stands in is its shelf, so that a claim, which changes status and lease, touches no index at all
-- (a heap-only update; the fillfactor leaves room for it on the page):
--   ready    due and not blocked; a claimed job stays here, passed over, until it ends or outlives a heartbeat
--   due      waits for next_retry_at           order    waits for its turn
--   held     runs longer than a heartbeat, or its kind has a bound          stopped  failed or dead letter
-- A lane is one kind of one workspace.
CREATE INDEX jobs_ready ON datalane.jobs (workspace_id, kind, priority DESC, next_retry_at, id) WHERE shelf = 'ready';
CREATE INDEX jobs_due ON datalane.jobs (next_retry_at) WHERE shelf = 'due';
CREATE INDEX jobs_held ON datalane.jobs (kind, workspace_id, id) WHERE shelf = 'held';
CREATE INDEX jobs_stopped ON datalane.jobs (workspace_id, id) WHERE shelf = 'stopped';
CREATE UNIQUE INDEX jobs_in_order ON datalane.jobs (workspace_id, order_key, order_seq)
    WHERE order_key IS NOT NULL AND replayed_by IS NULL;
SELECT app.protect('datalane.jobs', 'log', verbs => 'SELECT, INSERT, UPDATE, DELETE', operator_columns =>
    '{workspace_id,id,kind,subject_id,status,shelf,priority,attempt_count,max_attempts,rescue_count,queued_at,started_at,next_retry_at,lease_until,leased_by,correlation_id,parent_job_id,replayed_by,last_error_class,dead_lettered_at,dead_letter_reason}');

-- Completed jobs, by month of their creation.
CREATE TABLE datalane.job_history (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    subject_id text,
    status text NOT NULL DEFAULT 'completed' CONSTRAINT history_is_completed CHECK (status = 'completed'),
    priority smallint NOT NULL,
    args jsonb NOT NULL,
    attempt_count integer NOT NULL,
    max_attempts integer NOT NULL,
    rescue_count integer NOT NULL,
    queued_at timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    completed_at timestamptz NOT NULL,
    lease_token bigint NOT NULL,
    leased_by text,
    order_key text,
    order_seq bigint,
    idempotency_key text,
    correlation_id text NOT NULL,
    causation_id uuid,
    causation_depth integer NOT NULL,
    actor_id uuid NOT NULL,
    parent_job_id uuid,
    last_error_class text,
    last_error_message text,
    PRIMARY KEY (workspace_id, id)
) PARTITION BY RANGE (id);
SELECT app.protect('datalane.job_history', 'log', verbs => 'SELECT, INSERT', operator_columns =>
    '{workspace_id,id,kind,subject_id,status,attempt_count,max_attempts,rescue_count,queued_at,started_at,completed_at,leased_by,correlation_id,parent_job_id,last_error_class}');

-- Every status change but the two of a smooth run, which job_history's own times tell (see job_changes).
CREATE TABLE datalane.job_transitions (
    workspace_id uuid NOT NULL,
    job_id uuid NOT NULL,
    transition_id uuid NOT NULL,
    claim bigint NOT NULL,
    at timestamptz NOT NULL,
    from_status text NOT NULL,
    to_status text NOT NULL,
    attempt integer NOT NULL,
    worker text,
    error_class text,
    error_message text,
    reason text,
    PRIMARY KEY (workspace_id, job_id, transition_id)
) PARTITION BY RANGE (job_id);
SELECT app.protect('datalane.job_transitions', 'log', verbs => 'SELECT, INSERT', operator_columns =>
    '{workspace_id,job_id,transition_id,at,from_status,to_status,attempt,worker,error_class,reason}');

-- One row per status change of a job, in order of `claim` (the lease token: how often the job was claimed until then) and
-- `step` within it, which hold whatever the clocks said.
CREATE VIEW datalane.job_changes WITH (security_invoker = true) AS
    SELECT workspace_id, job_id, at, from_status, to_status, attempt, worker, error_class, error_message, reason, claim,
           CASE WHEN to_status = 'processing' THEN 1 WHEN from_status = 'processing' THEN 2 WHEN from_status = 'failed' THEN 3
                ELSE 4 END AS step
    FROM datalane.job_transitions
    UNION ALL
    SELECT workspace_id, id, started_at, CASE WHEN lease_token > 1 THEN 'retrying' ELSE 'queued' END,
           'processing', attempt_count, leased_by, NULL, NULL, NULL, lease_token, 1
    FROM datalane.job_history
    UNION ALL
    SELECT workspace_id, id, completed_at, 'processing', 'completed', attempt_count, leased_by, NULL, NULL, NULL, lease_token, 2
    FROM datalane.job_history
    UNION ALL
    SELECT workspace_id, id, started_at, CASE WHEN lease_token > 1 THEN 'retrying' ELSE 'queued' END,
           'processing', attempt_count, leased_by, NULL, NULL, NULL, lease_token, 1
    FROM datalane.jobs WHERE status = 'processing';
GRANT SELECT ON datalane.job_changes TO datalane_app;

-- Idempotency keys of jobs; fan-out needs none, its events are deduplicated.
CREATE TABLE datalane.job_keys (
    workspace_id uuid NOT NULL,
    idempotency_key text NOT NULL,
    job_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, idempotency_key)
);
SELECT app.protect('datalane.job_keys', 'system', verbs => 'SELECT, INSERT, DELETE');

-- Strict order: the job whose order_seq is head_seq may run, the others of the key wait.
CREATE TABLE datalane.job_order (
    workspace_id uuid NOT NULL,
    order_key text NOT NULL,
    next_seq bigint NOT NULL,
    head_seq bigint NOT NULL,
    touched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workspace_id, order_key),
    CONSTRAINT head_never_passes_the_end CHECK (head_seq <= next_seq)
);
SELECT app.protect('datalane.job_order', 'system', verbs => 'SELECT, INSERT, UPDATE, DELETE');

-- Kinds and their bound of jobs running at once (null: none), registered by workers; a bounded kind goes round the
-- workspaces from the one it served last.
CREATE TABLE datalane.job_kinds (
    kind text NOT NULL PRIMARY KEY,
    max_running integer CONSTRAINT at_least_one_running CHECK (max_running > 0),
    last_workspace uuid
);
SELECT app.protect('datalane.job_kinds', 'global', verbs => 'SELECT, INSERT, UPDATE');

-- What is paused: kind '*' stands for every kind, the reserved workspace for every workspace.
CREATE TABLE datalane.job_pauses (
    workspace_id uuid NOT NULL,
    kind text NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor_id uuid,
    PRIMARY KEY (workspace_id, kind)
);
SELECT app.protect('datalane.job_pauses', 'log', verbs => 'SELECT, INSERT, DELETE', operator_columns =>
    '{workspace_id,kind,paused_at}');

CREATE TABLE datalane.job_schedules (
    workspace_id uuid NOT NULL,
    name text NOT NULL CONSTRAINT names_are_short CHECK (length(name) BETWEEN 1 AND 200),
    kind text NOT NULL,
    cron text NOT NULL,
    timezone text NOT NULL DEFAULT 'UTC',
    args jsonb NOT NULL DEFAULT '{}' CONSTRAINT args_are_an_object CHECK (jsonb_typeof(args) = 'object'),
    enabled boolean NOT NULL DEFAULT true,
    next_run_at timestamptz NOT NULL CONSTRAINT next_run_is_a_moment CHECK (isfinite(next_run_at)),
    last_run_at timestamptz,
    actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, name)
);
CREATE INDEX job_schedules_due ON datalane.job_schedules (next_run_at) WHERE enabled;
SELECT app.protect('datalane.job_schedules', 'tenant', verbs => 'SELECT, UPDATE', operator_columns =>
    '{workspace_id,name,kind,cron,timezone,enabled,next_run_at,last_run_at}');

-- Audit --------------------------------------------------------------------------------------------------------

-- Rows stay for as long as the workspace does, and no role may change or remove one: the owner takes the privileges from
-- itself. `recorded_xid` is the transaction that wrote the row, which gives it its place in the chain of seals.
CREATE TABLE datalane.audit_log (
    workspace_id uuid NOT NULL,
    audit_id uuid NOT NULL,
    occurred_at timestamptz NOT NULL CONSTRAINT occurred_at_is_a_moment CHECK (isfinite(occurred_at)),
    actor_id uuid NOT NULL,
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id text,
    correlation_id text NOT NULL,
    details_digest bytea CONSTRAINT details_digest_is_sha256 CHECK (octet_length(details_digest) = 32),
    recorded_xid bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    PRIMARY KEY (workspace_id, audit_id)
);
CREATE INDEX audit_log_in_order ON datalane.audit_log (workspace_id, recorded_xid, audit_id);
SELECT app.protect('datalane.audit_log', 'log', verbs => 'SELECT, INSERT', operator_columns => '{workspace_id}');
REVOKE INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON datalane.audit_log FROM datalane_owner;

-- The values before and after, apart from the row, so that they can be erased and the row stays. The text is kept as it
-- was written, for its digest (json, not jsonb).
CREATE TABLE datalane.audit_details (
    workspace_id uuid NOT NULL,
    audit_id uuid NOT NULL,
    salt uuid NOT NULL,
    before json,
    after json,
    PRIMARY KEY (workspace_id, audit_id)
);
SELECT app.protect('datalane.audit_details', 'log', verbs => 'SELECT, INSERT, DELETE');
REVOKE INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON datalane.audit_details FROM datalane_owner;

-- Audit records with their values.
CREATE VIEW datalane.audit_records WITH (security_invoker = true) AS
    SELECT a.workspace_id, a.audit_id, a.occurred_at, a.actor_id, a.action, a.resource_type, a.resource_id,
           a.correlation_id, d.before::jsonb AS before, d.after::jsonb AS after,
           a.details_digest IS NOT NULL AND d.audit_id IS NULL AS details_erased
    FROM datalane.audit_log a
    LEFT JOIN datalane.audit_details d ON d.workspace_id = a.workspace_id AND d.audit_id = a.audit_id;
GRANT SELECT ON datalane.audit_records TO datalane_app;

SELECT app.add_partitions(parent, now() - interval '1 month', 5)
FROM unnest('{datalane.events,datalane.event_ingestion,datalane.job_history,datalane.job_transitions}'::regclass[]) AS parent;

-- A job may end long after its month has gone (delayed, or failed and retried): what has no month any more lands here.
CREATE TABLE datalane.job_history_late PARTITION OF datalane.job_history DEFAULT;
CREATE TABLE datalane.job_transitions_late PARTITION OF datalane.job_transitions DEFAULT;
ALTER TABLE datalane.job_history_late ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE datalane.job_transitions_late ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
