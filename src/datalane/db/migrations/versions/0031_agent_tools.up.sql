-- Tools that agents may call. What a tool takes and asks of its callers stands in its versions; the current one is called.
CREATE TABLE datalane.agent_tools (
    workspace_id uuid NOT NULL,
    tool_name text NOT NULL CONSTRAINT tool_names_are_plain CHECK (tool_name ~ '^[a-z][a-z0-9_.-]{0,63}$'),
    enabled boolean NOT NULL,
    disabled_reason text CONSTRAINT reasons_are_short CHECK (length(disabled_reason) BETWEEN 1 AND 500),
    current_version integer NOT NULL CONSTRAINT current_versions_begin_at_one CHECK (current_version > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    created_by_actor_id uuid NOT NULL,
    updated_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, tool_name),
    CONSTRAINT what_is_enabled_has_no_reason_against_it CHECK (NOT enabled OR disabled_reason IS NULL)
);
SELECT app.protect('datalane.agent_tools', 'managed', verbs => 'SELECT');

-- Published and never changed: what a call was checked against stays readable. `content_sha256` is of all that a publisher
-- says, so that the same said again is no other version.
CREATE TABLE datalane.agent_tool_versions (
    workspace_id uuid NOT NULL,
    tool_name text NOT NULL,
    version integer NOT NULL CONSTRAINT versions_begin_at_one CHECK (version > 0),
    description text NOT NULL CONSTRAINT descriptions_are_short CHECK (length(description) BETWEEN 1 AND 4000),
    input_schema jsonb NOT NULL,
    output_schema jsonb,
    required_role text NOT NULL CONSTRAINT required_role_is_known
        CHECK (required_role IN ('viewer', 'member', 'admin', 'owner')),
    required_scopes text[] NOT NULL,
    side_effect text NOT NULL CONSTRAINT side_effect_is_known CHECK (side_effect IN ('none', 'read', 'write', 'external')),
    approval text NOT NULL CONSTRAINT approval_is_known CHECK (approval IN ('never', 'for_writes', 'always')),
    execution text NOT NULL CONSTRAINT execution_is_known CHECK (execution IN ('serial', 'parallel')),
    max_attempts integer NOT NULL CONSTRAINT attempts_are_few CHECK (max_attempts BETWEEN 1 AND 10),
    timeout_seconds integer NOT NULL CONSTRAINT timeouts_are_bounded CHECK (timeout_seconds BETWEEN 1 AND 3600),
    fallback_tool text CONSTRAINT a_fallback_is_another_tool CHECK (fallback_tool <> tool_name),
    content_sha256 bytea NOT NULL CONSTRAINT content_digest_is_sha256 CHECK (octet_length(content_sha256) = 32),
    published_at timestamptz NOT NULL,
    published_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, tool_name, version),
    FOREIGN KEY (workspace_id, tool_name) REFERENCES datalane.agent_tools (workspace_id, tool_name),
    FOREIGN KEY (workspace_id, fallback_tool) REFERENCES datalane.agent_tools (workspace_id, tool_name)
);
SELECT app.protect('datalane.agent_tool_versions', 'decided', verbs => 'SELECT');

-- The rules of a workspace about calls, in the order of `position`. One that was deleted stays for those who read of it.
CREATE TABLE datalane.agent_tool_rules (
    workspace_id uuid NOT NULL,
    rule_id uuid NOT NULL,
    position integer NOT NULL,
    enabled boolean NOT NULL,
    disabled_reason text CONSTRAINT reasons_are_short CHECK (length(disabled_reason) BETWEEN 1 AND 500),
    current_version integer NOT NULL CONSTRAINT current_versions_begin_at_one CHECK (current_version > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    created_by_actor_id uuid NOT NULL,
    updated_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, rule_id),
    CONSTRAINT what_is_enabled_has_no_reason_against_it CHECK (NOT enabled OR disabled_reason IS NULL),
    CONSTRAINT what_was_deleted_is_not_enabled CHECK (NOT enabled OR deleted_at IS NULL)
);
CREATE INDEX agent_tool_rules_in_order ON datalane.agent_tool_rules (workspace_id, position, rule_id) WHERE deleted_at IS NULL;
SELECT app.protect('datalane.agent_tool_rules', 'managed');

-- What a rule says of calls: all that it names must hold. A pattern is a tool's name, or the beginning of names and a star.
CREATE TABLE datalane.agent_tool_rule_versions (
    workspace_id uuid NOT NULL,
    rule_id uuid NOT NULL,
    version integer NOT NULL CONSTRAINT versions_begin_at_one CHECK (version > 0),
    effect text NOT NULL CONSTRAINT effect_is_known CHECK (effect IN ('allow', 'deny', 'escalate')),
    tool_pattern text NOT NULL CONSTRAINT patterns_are_names_or_beginnings
        CHECK (tool_pattern ~ '^([a-z][a-z0-9_.-]{0,63}|([a-z][a-z0-9_.-]{0,62})?[*])$'),
    side_effect text CONSTRAINT side_effect_is_known CHECK (side_effect IN ('none', 'read', 'write', 'external')),
    below_role text CONSTRAINT below_role_is_known CHECK (below_role IN ('member', 'admin', 'owner')),
    agent text CONSTRAINT agents_are_short CHECK (length(agent) BETWEEN 1 AND 200),
    reason text NOT NULL CONSTRAINT reasons_are_said CHECK (length(reason) BETWEEN 1 AND 500),
    published_at timestamptz NOT NULL,
    published_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, rule_id, version),
    FOREIGN KEY (workspace_id, rule_id) REFERENCES datalane.agent_tool_rules (workspace_id, rule_id)
);
SELECT app.protect('datalane.agent_tool_rule_versions', 'decided');
