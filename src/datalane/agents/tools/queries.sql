-- name: lock_tools(workspace_id)$
-- Versions of a workspace's tools are published in turn, so that no chain of fallbacks comes back to where it began.
SELECT pg_advisory_xact_lock(hashtextextended((:workspace_id::uuid)::text, 31));

-- name: count_tools(workspace_id)$
-- How many tools there are.
SELECT count(*) FROM datalane.agent_tools WHERE workspace_id = :workspace_id;

-- name: lock_tool(workspace_id, tool_name)^
-- A tool that nobody else changes until the transaction ends.
SELECT t.tool_name, t.enabled, t.current_version FROM datalane.agent_tools t
WHERE t.workspace_id = :workspace_id AND t.tool_name = :tool_name FOR UPDATE;

-- name: add_tool(workspace_id, tool_name, now, actor_id)!
-- A tool, whose first version comes with it.
INSERT INTO datalane.agent_tools (workspace_id, tool_name, enabled, current_version, created_at, updated_at,
                                  created_by_actor_id, updated_by_actor_id)
VALUES (:workspace_id, :tool_name, true, 1, :now, :now, :actor_id, :actor_id);

-- name: add_version(workspace_id, tool_name, version, description, input_schema, output_schema, required_role, required_scopes, side_effect, approval, execution, max_attempts, timeout_seconds, fallback_tool, content_sha256, now, actor_id)!
-- A version, for good.
INSERT INTO datalane.agent_tool_versions (workspace_id, tool_name, version, description, input_schema, output_schema,
                                          required_role, required_scopes, side_effect, approval, execution, max_attempts,
                                          timeout_seconds, fallback_tool, content_sha256, published_at,
                                          published_by_actor_id)
VALUES (:workspace_id, :tool_name, :version, :description, :input_schema, :output_schema, :required_role, :required_scopes,
        :side_effect, :approval, :execution, :max_attempts, :timeout_seconds, :fallback_tool, :content_sha256, :now,
        :actor_id);

-- name: set_version(workspace_id, tool_name, version, now, actor_id)!
-- The version that is current from now on, after the one before it.
UPDATE datalane.agent_tools SET current_version = :version, updated_at = :now, updated_by_actor_id = :actor_id
WHERE workspace_id = :workspace_id AND tool_name = :tool_name AND current_version = :version - 1;

-- name: set_enabled(workspace_id, tool_name, enabled, reason, now, actor_id)!
-- Whether a tool may be called, and why not.
UPDATE datalane.agent_tools
SET enabled = :enabled, disabled_reason = :reason, updated_at = :now, updated_by_actor_id = :actor_id
WHERE workspace_id = :workspace_id AND tool_name = :tool_name;

-- name: get_tool(workspace_id, tool_name)^
-- A tool as its current version says it.
SELECT t.tool_name, t.enabled, t.disabled_reason, t.current_version, v.description, v.input_schema, v.output_schema,
       v.required_role, v.required_scopes, v.side_effect, v.approval, v.execution, v.max_attempts, v.timeout_seconds,
       v.fallback_tool, t.created_at, t.updated_at, t.created_by_actor_id, t.updated_by_actor_id
FROM datalane.agent_tools t
JOIN datalane.agent_tool_versions v
    ON v.workspace_id = t.workspace_id AND v.tool_name = t.tool_name AND v.version = t.current_version
WHERE t.workspace_id = :workspace_id AND t.tool_name = :tool_name;

-- name: get_digest(workspace_id, tool_name, version)$
-- The digest of what a version says.
SELECT content_sha256 FROM datalane.agent_tool_versions
WHERE workspace_id = :workspace_id AND tool_name = :tool_name AND version = :version;

-- name: list_tools(workspace_id, after, page_size)
-- Tools as their current versions say them but for their schemas, by name.
SELECT t.tool_name, t.enabled, t.disabled_reason, t.current_version, v.description, v.required_role, v.required_scopes,
       v.side_effect, v.approval, v.execution, v.max_attempts, v.timeout_seconds, v.fallback_tool, t.created_at, t.updated_at, t.created_by_actor_id, t.updated_by_actor_id
FROM datalane.agent_tools t
JOIN datalane.agent_tool_versions v
    ON v.workspace_id = t.workspace_id AND v.tool_name = t.tool_name AND v.version = t.current_version
WHERE t.workspace_id = :workspace_id AND (:after::text IS NULL OR t.tool_name > :after)
ORDER BY t.tool_name LIMIT :page_size;

-- name: list_versions(workspace_id, tool_name, most)
-- The newest versions of a tool.
SELECT version, description, input_schema, output_schema, required_role, required_scopes, side_effect, approval, execution,
       max_attempts, timeout_seconds, fallback_tool, published_at, published_by_actor_id
FROM datalane.agent_tool_versions
WHERE workspace_id = :workspace_id AND tool_name = :tool_name ORDER BY version DESC LIMIT :most;

-- name: get_fallback(workspace_id, tool_name, version)^
-- Where a version of a tool leads.
SELECT fallback_tool FROM datalane.agent_tool_versions
WHERE workspace_id = :workspace_id AND tool_name = :tool_name AND version = :version;

-- name: follow_fallbacks(workspace_id, tool_name)
-- A tool, the one that it leads to, and so on; each once.
WITH RECURSIVE chain AS (
    SELECT t.tool_name, t.enabled, v.fallback_tool
    FROM datalane.agent_tools t
    JOIN datalane.agent_tool_versions v
        ON v.workspace_id = t.workspace_id AND v.tool_name = t.tool_name AND v.version = t.current_version
    WHERE t.workspace_id = :workspace_id AND t.tool_name = :tool_name
    UNION
    SELECT t.tool_name, t.enabled, v.fallback_tool
    FROM chain c
    JOIN datalane.agent_tools t ON t.workspace_id = :workspace_id AND t.tool_name = c.fallback_tool
    JOIN datalane.agent_tool_versions v
        ON v.workspace_id = t.workspace_id AND v.tool_name = t.tool_name AND v.version = t.current_version
)
SELECT tool_name, enabled, fallback_tool FROM chain;

-- name: read_for_decision(workspace_id, tool_name)^
-- All that a decision about a call reads: the tool, its current version, and in their order the enabled rules whose pattern fits,
-- as `policy.matches` says. OFFSET 0 has each current version looked up by its whole key: where the tables seem small, a join
-- would read all versions that there are.
SELECT t.enabled, v.version, v.input_schema, v.required_role, v.required_scopes, v.side_effect, v.approval, v.execution,
       v.max_attempts, v.timeout_seconds, v.fallback_tool,
       (SELECT jsonb_agg(jsonb_build_array(r.rule_id, s.version, s.effect, s.tool_pattern, s.reason, s.side_effect,
                                           s.below_role, s.agent) ORDER BY r.position, r.rule_id)
        FROM datalane.agent_tool_rules r
        CROSS JOIN LATERAL (
            SELECT c.version, c.effect, c.tool_pattern, c.reason, c.side_effect, c.below_role, c.agent
            FROM datalane.agent_tool_rule_versions c
            WHERE c.workspace_id = :workspace_id AND c.rule_id = r.rule_id AND c.version = r.current_version
            OFFSET 0) s
        WHERE r.workspace_id = :workspace_id AND r.enabled AND r.deleted_at IS NULL
          AND (s.tool_pattern = :tool_name
               OR (s.tool_pattern LIKE '%*' AND starts_with(:tool_name, left(s.tool_pattern, -1))))) AS rules
FROM datalane.agent_tools t
CROSS JOIN LATERAL (
    SELECT c.version, c.input_schema, c.required_role, c.required_scopes, c.side_effect, c.approval, c.execution,
           c.max_attempts, c.timeout_seconds, c.fallback_tool
    FROM datalane.agent_tool_versions c
    WHERE c.workspace_id = :workspace_id AND c.tool_name = t.tool_name AND c.version = t.current_version
    OFFSET 0) v
WHERE t.workspace_id = :workspace_id AND t.tool_name = :tool_name;

-- name: read_output_schema(workspace_id, tool_name, version)^
-- What the output of a version is checked against.
SELECT output_schema FROM datalane.agent_tool_versions
WHERE workspace_id = :workspace_id AND tool_name = :tool_name AND version = :version;
