-- Threads: runs that belong together, such as the turns of a conversation.
CREATE TABLE datalane.agent_threads (
    workspace_id uuid NOT NULL,
    thread_id uuid NOT NULL,
    title text CONSTRAINT titles_are_short CHECK (length(title) BETWEEN 1 AND 500),
    external_id text CONSTRAINT external_ids_are_short CHECK (length(external_id) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL,
    created_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, thread_id),
    CONSTRAINT one_thread_per_external_id UNIQUE (workspace_id, external_id)
);
SELECT app.protect('datalane.agent_threads', 'append', verbs => 'SELECT, INSERT');

-- One go of an agent. Only verbs write it: every step of its life is checked, and a runtime writes under the token of its lease.
-- `entries` numbers what belongs to the run in the order in which it was recorded. `deadline_at` is when the sweep looks at it:
-- the end of a lease, or the moment until which somebody is to take it up. `actor_rank` and `scopes` are those of who asked for it,
-- whoever runs it. Sums hold what is known, and how many steps are not.
CREATE TABLE datalane.agent_runs (
    workspace_id uuid NOT NULL,
    run_id uuid NOT NULL,
    thread_id uuid,
    parent_run_id uuid,
    agent text NOT NULL CONSTRAINT agents_have_short_names CHECK (length(agent) BETWEEN 1 AND 200),
    source text NOT NULL CONSTRAINT source_is_known CHECK (source IN ('runtime', 'spans')),
    source_run_id text CONSTRAINT source_run_ids_are_short CHECK (length(source_run_id) BETWEEN 1 AND 200),
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN
        ('queued', 'running', 'waiting_tool', 'retrying', 'completed', 'failed', 'blocked_policy', 'escalated_human')),
    attempt_count integer NOT NULL,
    max_attempts integer NOT NULL CONSTRAINT max_attempts_are_few CHECK (max_attempts BETWEEN 1 AND 100),
    actor_id uuid NOT NULL,
    actor_rank integer NOT NULL CONSTRAINT actor_rank_is_a_role_s CHECK (actor_rank BETWEEN 1 AND 4),
    scopes text[],
    correlation_id text NOT NULL,
    causation_id uuid,
    causation_depth integer NOT NULL,
    prompt_version_id uuid,
    model_version_id uuid,
    output_schema_version_id uuid,
    input jsonb,
    output jsonb,
    conforms boolean,
    error_class text CONSTRAINT error_class_is_known CHECK (error_class IN ('timeout', 'validation_error', 'authz_denied',
        'policy_denied', 'provider_error', 'dependency_unavailable', 'unexpected_internal')),
    error_message text CONSTRAINT error_messages_are_short CHECK (length(error_message) <= 2000),
    lease_token bigint NOT NULL,
    runtime text CONSTRAINT runtimes_have_short_names CHECK (length(runtime) BETWEEN 1 AND 200),
    deadline_at timestamptz,
    entries integer NOT NULL DEFAULT 0,
    open_calls integer NOT NULL DEFAULT 0 CONSTRAINT calls_that_are_open_are_counted CHECK (open_calls >= 0),
    model_steps integer NOT NULL DEFAULT 0,
    input_tokens bigint,
    cached_input_tokens bigint,
    output_tokens bigint,
    reasoning_tokens bigint,
    unmeasured_steps integer NOT NULL DEFAULT 0,
    cost numeric,
    unpriced_steps integer NOT NULL DEFAULT 0,
    currency text CONSTRAINT currency_is_a_code CHECK (currency ~ '^[A-Z]{3}$'),
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    completed_at timestamptz,
    PRIMARY KEY (workspace_id, run_id),
    CONSTRAINT one_run_per_source_id UNIQUE (workspace_id, source, source_run_id),
    CONSTRAINT what_is_over_says_when_and_waits_for_nothing CHECK (
        (status IN ('completed', 'failed', 'blocked_policy', 'escalated_human')) = (completed_at IS NOT NULL)
        AND (completed_at IS NULL) = (deadline_at IS NOT NULL)),
    CONSTRAINT what_failed_has_a_class CHECK ((status IN ('failed', 'blocked_policy')) <= (error_class IS NOT NULL)),
    CONSTRAINT what_is_held_has_a_runtime CHECK ((status IN ('running', 'waiting_tool')) <= (runtime IS NOT NULL)),
    FOREIGN KEY (workspace_id, thread_id) REFERENCES datalane.agent_threads (workspace_id, thread_id),
    FOREIGN KEY (workspace_id, parent_run_id) REFERENCES datalane.agent_runs (workspace_id, run_id),
    FOREIGN KEY (workspace_id, prompt_version_id) REFERENCES datalane.agent_prompts (workspace_id, prompt_version_id),
    FOREIGN KEY (workspace_id, model_version_id) REFERENCES datalane.agent_models (workspace_id, model_version_id),
    FOREIGN KEY (workspace_id, output_schema_version_id)
        REFERENCES datalane.agent_output_schemas (workspace_id, output_schema_version_id)
) WITH (fillfactor = 60);
CREATE INDEX agent_runs_by_thread ON datalane.agent_runs (workspace_id, thread_id, run_id) WHERE thread_id IS NOT NULL;
CREATE INDEX agent_runs_by_parent ON datalane.agent_runs (workspace_id, parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX agent_runs_by_agent ON datalane.agent_runs (workspace_id, agent, run_id);
CREATE INDEX agent_runs_by_status ON datalane.agent_runs (workspace_id, status, run_id);
CREATE INDEX agent_runs_by_prompt ON datalane.agent_runs (workspace_id, prompt_version_id, run_id) WHERE prompt_version_id IS NOT NULL;
CREATE INDEX agent_runs_by_model ON datalane.agent_runs (workspace_id, model_version_id, run_id) WHERE model_version_id IS NOT NULL;
CREATE INDEX agent_runs_by_deadline ON datalane.agent_runs (deadline_at) WHERE deadline_at IS NOT NULL;
SELECT app.protect('datalane.agent_runs', 'log', verbs => 'SELECT, INSERT, UPDATE, DELETE', operator_columns =>
    '{workspace_id,run_id,thread_id,parent_run_id,agent,source,status,attempt_count,max_attempts,correlation_id,causation_depth,conforms,error_class,lease_token,runtime,deadline_at,model_steps,input_tokens,cached_input_tokens,output_tokens,reasoning_tokens,unmeasured_steps,cost,unpriced_steps,currency,created_at,started_at,completed_at}');

-- What a run did beside calling tools. Each attempt is a step of its own, so that what failed is counted too. The cost is computed
-- once, from the price that held when the run began, and never changes.
CREATE TABLE datalane.agent_steps (
    workspace_id uuid NOT NULL,
    run_id uuid NOT NULL,
    ordinal integer NOT NULL,
    kind text NOT NULL CONSTRAINT kind_is_known CHECK (kind IN ('model', 'retrieval', 'custom')),
    name text NOT NULL CONSTRAINT names_are_short CHECK (length(name) BETWEEN 1 AND 200),
    attempt integer NOT NULL CONSTRAINT attempts_begin_at_one CHECK (attempt > 0),
    prompt_version_id uuid,
    model_version_id uuid,
    input_tokens bigint CONSTRAINT input_tokens_are_counted CHECK (input_tokens >= 0),
    cached_input_tokens bigint CONSTRAINT cached_input_is_input CHECK (cached_input_tokens BETWEEN 0 AND input_tokens),
    output_tokens bigint CONSTRAINT output_tokens_are_counted CHECK (output_tokens >= 0),
    reasoning_tokens bigint CONSTRAINT reasoning_is_output CHECK (reasoning_tokens BETWEEN 0 AND output_tokens),
    price_version_id uuid,
    cost numeric CONSTRAINT costs_are_counted CHECK (cost >= 0),
    input jsonb,
    output jsonb,
    error_class text CONSTRAINT error_class_is_known CHECK (error_class IN ('timeout', 'validation_error', 'authz_denied',
        'policy_denied', 'provider_error', 'dependency_unavailable', 'unexpected_internal')),
    error_message text CONSTRAINT error_messages_are_short CHECK (length(error_message) <= 2000),
    source_id text CONSTRAINT source_ids_are_short CHECK (length(source_id) BETWEEN 1 AND 200),
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, run_id, ordinal),
    CONSTRAINT one_step_per_source_id UNIQUE (workspace_id, run_id, source_id),
    CONSTRAINT what_costs_has_a_price CHECK (cost IS NULL OR price_version_id IS NOT NULL),
    CONSTRAINT steps_end_after_they_start CHECK (ended_at >= started_at),
    FOREIGN KEY (workspace_id, run_id) REFERENCES datalane.agent_runs (workspace_id, run_id),
    FOREIGN KEY (workspace_id, prompt_version_id) REFERENCES datalane.agent_prompts (workspace_id, prompt_version_id),
    FOREIGN KEY (workspace_id, model_version_id) REFERENCES datalane.agent_models (workspace_id, model_version_id),
    FOREIGN KEY (workspace_id, price_version_id) REFERENCES datalane.agent_prices (workspace_id, price_version_id)
);
CREATE INDEX agent_steps_by_prompt ON datalane.agent_steps (workspace_id, prompt_version_id, run_id) WHERE prompt_version_id IS NOT NULL;
CREATE INDEX agent_steps_by_model ON datalane.agent_steps (workspace_id, model_version_id, run_id) WHERE model_version_id IS NOT NULL;
CREATE INDEX agent_steps_by_price ON datalane.agent_steps (workspace_id, price_version_id, run_id) WHERE price_version_id IS NOT NULL;
SELECT app.protect('datalane.agent_steps', 'log', verbs => 'SELECT, INSERT, UPDATE, DELETE');

-- Calls of tools, each decided by a rule before it begins.
CREATE TABLE datalane.tool_calls (
    workspace_id uuid NOT NULL,
    tool_call_id uuid NOT NULL,
    run_id uuid NOT NULL,
    ordinal integer NOT NULL,
    tool_name text NOT NULL CONSTRAINT tools_have_short_names CHECK (length(tool_name) BETWEEN 1 AND 64),
    tool_version integer CONSTRAINT tool_versions_begin_at_one CHECK (tool_version > 0),
    side_effect text CONSTRAINT side_effect_is_known CHECK (side_effect IN ('none', 'read', 'write', 'external')),
    serial boolean NOT NULL,
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN
        ('requested', 'authorized', 'blocked_policy', 'executing', 'retrying', 'succeeded', 'failed', 'canceled')),
    attempt_count integer NOT NULL,
    max_attempts integer NOT NULL CONSTRAINT max_attempts_are_few CHECK (max_attempts BETWEEN 1 AND 100),
    arguments jsonb,
    arguments_digest bytea NOT NULL,
    result jsonb,
    is_replay boolean NOT NULL DEFAULT false,
    idempotency_key text CONSTRAINT idempotency_keys_are_short CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    rule_id text NOT NULL CONSTRAINT rules_have_short_ids CHECK (length(rule_id) BETWEEN 1 AND 100),
    rule_version integer NOT NULL,
    reason text CONSTRAINT reasons_are_short CHECK (length(reason) <= 500),
    needs_approval boolean NOT NULL DEFAULT false,
    approval_until timestamptz,
    is_approved boolean,
    approval_id uuid,
    decided_by_actor_id uuid,
    error_class text CONSTRAINT error_class_is_known CHECK (error_class IN ('timeout', 'validation_error', 'authz_denied',
        'policy_denied', 'provider_error', 'dependency_unavailable', 'unexpected_internal')),
    error_message text CONSTRAINT error_messages_are_short CHECK (length(error_message) <= 2000),
    requested_at timestamptz NOT NULL,
    decided_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (workspace_id, tool_call_id),
    CONSTRAINT one_place_per_call UNIQUE (workspace_id, run_id, ordinal),
    CONSTRAINT approvals_are_used_once UNIQUE (workspace_id, approval_id),
    CONSTRAINT what_has_ended_says_when
        CHECK ((status IN ('succeeded', 'failed', 'canceled', 'blocked_policy')) = (ended_at IS NOT NULL)),
    CONSTRAINT what_failed_has_a_class CHECK ((status IN ('failed', 'blocked_policy')) <= (error_class IS NOT NULL)),
    CONSTRAINT what_waits_for_a_person_says_until_when
        CHECK ((status = 'requested') = (approval_until IS NOT NULL)),
    FOREIGN KEY (workspace_id, run_id) REFERENCES datalane.agent_runs (workspace_id, run_id)
);
CREATE INDEX tool_calls_by_tool ON datalane.tool_calls (workspace_id, tool_name, tool_version, tool_call_id);
CREATE INDEX tool_calls_by_approval ON datalane.tool_calls (approval_until) WHERE approval_until IS NOT NULL;
CREATE INDEX tool_calls_that_wait ON datalane.tool_calls (workspace_id, tool_call_id) WHERE approval_until IS NOT NULL;
SELECT app.protect('datalane.tool_calls', 'log', verbs => 'SELECT, INSERT, UPDATE, DELETE', operator_columns =>
    '{workspace_id,tool_call_id,run_id,tool_name,tool_version,side_effect,status,attempt_count,max_attempts,rule_id,rule_version,needs_approval,approval_until,error_class,requested_at,decided_at,started_at,ended_at}');

-- Every change of a status: of the run, or of one of its calls.
CREATE TABLE datalane.agent_transitions (
    workspace_id uuid NOT NULL,
    run_id uuid NOT NULL,
    ordinal integer NOT NULL,
    tool_call_id uuid,
    from_status text,
    to_status text NOT NULL,
    attempt integer NOT NULL,
    lease_token bigint NOT NULL,
    runtime text,
    error_class text,
    error_message text,
    reason text,
    at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, run_id, ordinal),
    FOREIGN KEY (workspace_id, run_id) REFERENCES datalane.agent_runs (workspace_id, run_id)
);
SELECT app.protect('datalane.agent_transitions', 'log', verbs => 'SELECT, INSERT, DELETE');

-- What a tool did to the world, once for each idempotency key.
CREATE TABLE datalane.agent_effects (
    workspace_id uuid NOT NULL,
    tool_name text NOT NULL,
    idempotency_key text NOT NULL,
    arguments_digest bytea NOT NULL,
    tool_call_id uuid NOT NULL,
    result jsonb,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, tool_name, idempotency_key)
);
SELECT app.protect('datalane.agent_effects', 'log', verbs => 'SELECT, INSERT, DELETE');

-- What steps have used in a day of UTC, by its unit: tokens, and costs by their currencies. Who counts adds to a row that nobody holds, or
-- to a new one, so that nobody waits for anybody and the sum of the rows is exact.
CREATE TABLE datalane.agent_usage (
    workspace_id uuid NOT NULL,
    meter text NOT NULL CONSTRAINT meters_have_plain_names CHECK (meter ~ '^[a-z][a-z0-9_.-]{0,63}$'),
    unit text NOT NULL CONSTRAINT units_are_short CHECK (length(unit) BETWEEN 1 AND 40),
    day date NOT NULL,
    slot uuid NOT NULL,
    used numeric NOT NULL CONSTRAINT what_was_used_is_counted CHECK (used > 0),
    PRIMARY KEY (workspace_id, meter, unit, day, slot)
) WITH (fillfactor = 50);
SELECT app.protect('datalane.agent_usage', 'log', verbs => 'SELECT, INSERT, UPDATE');
