-- The access of a workspace as it was written down last, at `updated_at`. `next_at` is when time, or a signal whose time comes then, changes
-- it; who reads before the sweep came looks for that themselves. `sweep_at` and `reconcile_at` are when the sweep asks for it to be settled and
-- reconciled. `assigned_…` is the plan that the last change assigned. `sync_error` says why what was told is not applied, `difference` what
-- the last reconciling found.
CREATE TABLE datalane.demo_access (
    workspace_id uuid NOT NULL,
    state text NOT NULL CONSTRAINT state_is_known CHECK (state IN ('pending', 'active', 'grace', 'suspended', 'expired', 'deactivated')),
    plan_id text CONSTRAINT plan_ids_are_short CHECK (length(plan_id) BETWEEN 1 AND 100),
    since timestamptz,
    ends_at timestamptz,
    grace_seconds bigint NOT NULL DEFAULT 0,
    next_at timestamptz,
    source_system text,
    source_event_id text,
    source_version bigint,
    assigned_plan_id text,
    assigned_status text CONSTRAINT assigned_status_is_known CHECK (assigned_status IN ('enabled', 'grace', 'disabled')),
    assigned_until timestamptz,
    sync_error text CONSTRAINT sync_errors_are_short CHECK (length(sync_error) <= 500),
    sync_failed_at timestamptz,
    difference jsonb CONSTRAINT differences_are_a_short_list
        CHECK (CASE WHEN jsonb_typeof(difference) = 'array' THEN jsonb_array_length(difference) <= 100 ELSE difference IS NULL END),
    reconciled_at timestamptz,
    sweep_at timestamptz,
    reconcile_at timestamptz NOT NULL,
    last_synced_at timestamptz,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id)
);
CREATE INDEX demo_access_to_settle ON datalane.demo_access (sweep_at) WHERE sweep_at IS NOT NULL;
CREATE INDEX demo_access_to_reconcile ON datalane.demo_access (reconcile_at);
SELECT app.protect('datalane.demo_access', 'log', verbs => 'SELECT, INSERT, UPDATE', operator_columns =>
    '{workspace_id,state,plan_id,since,ends_at,next_at,sync_error,sync_failed_at,reconciled_at,last_synced_at}');

-- What was told. A signal is kept for good, so that it counts once whenever it comes again. `outcome` and `reason` say what it came to at
-- its place in the order, and change when an earlier one comes later; `ahead` is one whose time has not come. `held` is one that has no place
-- until somebody releases it, or it is told again when it may have one: it says a time that cannot be right. `conflicts` counts what came under its id and said something else, the last of which is kept.
CREATE TABLE datalane.access_signals (
    workspace_id uuid NOT NULL,
    source_system text NOT NULL CONSTRAINT source_systems_are_short CHECK (length(source_system) BETWEEN 1 AND 100),
    source_event_id text NOT NULL CONSTRAINT source_event_ids_are_short CHECK (length(source_event_id) BETWEEN 1 AND 200),
    signal text NOT NULL CONSTRAINT signal_is_known CHECK (signal IN ('activate', 'renew', 'suspend', 'resume', 'end', 'grace_over',
        'deactivate', 'reactivate', 'correct')),
    state text CONSTRAINT state_is_known CHECK (state IN ('pending', 'active', 'grace', 'suspended', 'expired', 'deactivated')),
    plan_id text CONSTRAINT plan_ids_are_short CHECK (length(plan_id) BETWEEN 1 AND 100),
    occurred_at timestamptz NOT NULL
        CONSTRAINT moments_are_of_our_time CHECK (occurred_at >= '1970-01-01 00:00:00+00' AND occurred_at < '3000-01-01 00:00:00+00'),
    source_version bigint CONSTRAINT versions_are_counted CHECK (source_version >= 0),
    ends_at timestamptz CONSTRAINT periods_end_after_they_begin CHECK (ends_at > occurred_at AND ends_at < '3000-01-01 00:00:00+00'),
    grace_seconds bigint CONSTRAINT grace_is_a_year_at_most CHECK (grace_seconds BETWEEN 0 AND 31622400),
    held text CONSTRAINT held_is_known CHECK (held IN ('future', 'old')),
    late boolean NOT NULL,
    outcome text NOT NULL CONSTRAINT outcome_is_known CHECK (outcome IN ('applied', 'ignored', 'stale', 'ahead')),
    reason text CONSTRAINT reasons_are_short CHECK (length(reason) <= 200),
    conflicts integer NOT NULL DEFAULT 0,
    conflicting jsonb,
    conflicted_at timestamptz,
    received_at timestamptz NOT NULL,
    correlation_id text,
    actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, source_system, source_event_id),
    CONSTRAINT corrections_name_a_state CHECK ((signal = 'correct') = (state IS NOT NULL)),
    CONSTRAINT corrections_are_an_operators CHECK (signal <> 'correct' OR source_system = 'operator' AND source_version IS NULL),
    CONSTRAINT activations_name_a_plan CHECK (signal <> 'activate' OR plan_id IS NOT NULL),
    CONSTRAINT renewals_name_an_end CHECK (signal <> 'renew' OR ends_at IS NOT NULL),
    CONSTRAINT others_name_no_period CHECK (signal IN ('activate', 'renew', 'reactivate', 'correct') OR ends_at IS NULL AND plan_id IS NULL),
    CONSTRAINT grace_is_of_a_period CHECK (signal IN ('activate', 'renew', 'reactivate', 'correct', 'end') OR grace_seconds IS NULL),
    CONSTRAINT corrected_grace_has_an_end CHECK (state <> 'grace' OR grace_seconds > 0 AND ends_at IS NULL)
);
CREATE INDEX access_signals_by_receipt ON datalane.access_signals (workspace_id, received_at);
SELECT app.protect('datalane.access_signals', 'log', verbs => 'SELECT, INSERT, UPDATE', operator_columns =>
    '{workspace_id,source_system,source_event_id,signal,occurred_at,source_version,held,outcome,reason,conflicts,received_at}');

-- Who told a signal, or released it, and why, where a person did. It is of admins and the operator, who read it by a verb.
CREATE TABLE datalane.access_notes (
    workspace_id uuid NOT NULL,
    note_id uuid NOT NULL,
    source_system text NOT NULL,
    source_event_id text NOT NULL,
    done text NOT NULL CONSTRAINT done_is_known CHECK (done IN ('told', 'released')),
    told_by text CONSTRAINT tellers_have_short_names CHECK (length(told_by) BETWEEN 1 AND 200),
    note text CONSTRAINT notes_are_short CHECK (length(note) BETWEEN 1 AND 500),
    noted_at timestamptz NOT NULL,
    correlation_id text,
    actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, note_id),
    CONSTRAINT notes_are_of_signals FOREIGN KEY (workspace_id, source_system, source_event_id)
        REFERENCES datalane.access_signals (workspace_id, source_system, source_event_id),
    CONSTRAINT notes_say_something CHECK (told_by IS NOT NULL OR note IS NOT NULL)
);
CREATE INDEX access_notes_by_signal ON datalane.access_notes (workspace_id, source_system, source_event_id);
SELECT app.protect('datalane.access_notes', 'system', verbs => 'SELECT, INSERT');

-- What the signals come to, in order: each change of the state, the plan or the period. A row that a late signal made untrue is not
-- taken away but superseded, so that what was believed, and when, stays.
CREATE TABLE datalane.access_history (
    workspace_id uuid NOT NULL,
    history_id uuid NOT NULL,
    ordinal integer NOT NULL CONSTRAINT ordinals_begin_at_one CHECK (ordinal > 0),
    from_state text NOT NULL
        CONSTRAINT from_state_is_known CHECK (from_state IN ('pending', 'active', 'grace', 'suspended', 'expired', 'deactivated')),
    to_state text NOT NULL
        CONSTRAINT to_state_is_known CHECK (to_state IN ('pending', 'active', 'grace', 'suspended', 'expired', 'deactivated')),
    plan_id text,
    ends_at timestamptz,
    grace_seconds bigint NOT NULL,
    why text NOT NULL CONSTRAINT why_is_short CHECK (length(why) BETWEEN 1 AND 100),
    source_system text,
    source_event_id text,
    at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    superseded_at timestamptz,
    correlation_id text,
    actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, history_id)
);
CREATE INDEX access_history_by_place ON datalane.access_history (workspace_id, ordinal) WHERE superseded_at IS NULL;
SELECT app.protect('datalane.access_history', 'log', verbs => 'SELECT, INSERT, UPDATE', operator_columns =>
    '{workspace_id,history_id,ordinal,from_state,to_state,plan_id,why,at,recorded_at,superseded_at}');
