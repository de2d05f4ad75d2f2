-- Rules: when an event of a type says so, actions. A rule acts as the lane itself, so admins alone write them. Its
-- subscription leaves one job for each event, with the version that is current then; that of a disabled rule is disabled.
CREATE TABLE datalane.automation_rules (
    workspace_id uuid NOT NULL,
    rule_id uuid NOT NULL,
    name text NOT NULL CONSTRAINT names_are_short CHECK (length(name) BETWEEN 1 AND 200),
    event_type text NOT NULL,
    enabled boolean NOT NULL,
    disabled_reason text CONSTRAINT reasons_are_short CHECK (length(disabled_reason) BETWEEN 1 AND 500),
    current_version integer NOT NULL CONSTRAINT current_versions_begin_at_one CHECK (current_version > 0),
    subscription_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    created_by_actor_id uuid NOT NULL,
    updated_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, rule_id),
    CONSTRAINT one_rule_per_name UNIQUE (workspace_id, name),
    CONSTRAINT what_is_enabled_has_no_reason_against_it CHECK (NOT enabled OR disabled_reason IS NULL),
    FOREIGN KEY (workspace_id, subscription_id) REFERENCES datalane.subscriptions (workspace_id, subscription_id)
);
SELECT app.protect('datalane.automation_rules', 'managed');

-- What a rule said, says, and did say when an event came: published and never changed.
CREATE TABLE datalane.automation_rule_versions (
    workspace_id uuid NOT NULL,
    rule_id uuid NOT NULL,
    version integer NOT NULL CONSTRAINT versions_begin_at_one CHECK (version > 0),
    condition text NOT NULL,
    actions jsonb NOT NULL,
    published_at timestamptz NOT NULL,
    published_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, rule_id, version),
    FOREIGN KEY (workspace_id, rule_id) REFERENCES datalane.automation_rules (workspace_id, rule_id)
);
SELECT app.protect('datalane.automation_rule_versions', 'decided');

-- Whether the rules of a workspace run at all. A workspace without a row has not been switched off yet.
CREATE TABLE datalane.automation_switches (
    workspace_id uuid NOT NULL,
    enabled boolean NOT NULL,
    reason text NOT NULL CONSTRAINT reasons_are_said CHECK (length(reason) BETWEEN 1 AND 500),
    changed_at timestamptz NOT NULL,
    changed_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id)
);
SELECT app.protect('datalane.automation_switches', 'managed');

-- One run for each event and version of a rule, by the month of its event and kept as long. `job_id` is the job that took it up
-- last: an earlier one that comes back late changes nothing.
CREATE TABLE datalane.automation_runs (
    workspace_id uuid NOT NULL,
    event_id uuid NOT NULL,
    rule_id uuid NOT NULL,
    rule_version integer NOT NULL CONSTRAINT rule_versions_begin_at_one CHECK (rule_version > 0),
    run_id uuid NOT NULL,
    event_type text NOT NULL,
    status text NOT NULL CONSTRAINT status_is_known
        CHECK (status IN ('pending', 'running', 'completed', 'skipped', 'failed', 'dead_letter')),
    reason text,
    error_class text,
    error_message text,
    outcomes jsonb NOT NULL DEFAULT '[]',
    job_id uuid NOT NULL,
    attempt_count integer NOT NULL,
    replay_count integer NOT NULL DEFAULT 0,
    actor_id uuid NOT NULL,
    correlation_id text NOT NULL,
    causation_depth integer NOT NULL,
    created_at timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT one_run_per_event_and_version PRIMARY KEY (workspace_id, event_id, rule_id, rule_version),
    CONSTRAINT what_has_ended_says_when
        CHECK ((status IN ('completed', 'skipped', 'failed', 'dead_letter')) = (ended_at IS NOT NULL)),
    CONSTRAINT what_was_skipped_says_why CHECK ((status = 'skipped') = (reason IS NOT NULL)),
    CONSTRAINT what_failed_has_a_class CHECK ((status IN ('failed', 'dead_letter')) <= (error_class IS NOT NULL)),
    FOREIGN KEY (workspace_id, rule_id, rule_version)
        REFERENCES datalane.automation_rule_versions (workspace_id, rule_id, version)
) PARTITION BY RANGE (event_id);
CREATE INDEX automation_runs_by_id ON datalane.automation_runs (workspace_id, run_id);
CREATE INDEX automation_runs_by_rule ON datalane.automation_runs (workspace_id, rule_id, run_id);
CREATE INDEX automation_runs_by_status ON datalane.automation_runs (workspace_id, status, run_id);
CREATE INDEX automation_runs_by_job ON datalane.automation_runs (workspace_id, job_id);
SELECT app.protect('datalane.automation_runs', 'managed', operator_columns =>
    '{workspace_id,event_id,rule_id,rule_version,run_id,event_type,status,error_class,job_id,attempt_count,replay_count,correlation_id,causation_depth,created_at,started_at,ended_at}');
SELECT app.add_partitions('datalane.automation_runs', now() - interval '1 month', 5);

-- A job of an admins' kind is left by an admin also where an event or a time leaves it.
CREATE POLICY admins_kinds_added ON datalane.subscriptions AS RESTRICTIVE FOR INSERT TO datalane_app
    WITH CHECK (app.actor_rank() >= 3 OR kind <> ALL (datalane.admins_kinds()));
CREATE POLICY admins_kinds_changed ON datalane.subscriptions AS RESTRICTIVE FOR UPDATE TO datalane_app
    USING (app.actor_rank() >= 3 OR kind <> ALL (datalane.admins_kinds()))
    WITH CHECK (app.actor_rank() >= 3 OR kind <> ALL (datalane.admins_kinds()));
CREATE POLICY admins_kinds_added ON datalane.job_schedules AS RESTRICTIVE FOR INSERT TO datalane_app
    WITH CHECK (app.actor_rank() >= 3 OR kind <> ALL (datalane.admins_kinds()));
CREATE POLICY admins_kinds_changed ON datalane.job_schedules AS RESTRICTIVE FOR UPDATE TO datalane_app
    USING (app.actor_rank() >= 3 OR kind <> ALL (datalane.admins_kinds()))
    WITH CHECK (app.actor_rank() >= 3 OR kind <> ALL (datalane.admins_kinds()));
