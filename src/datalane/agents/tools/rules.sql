-- name: lock_rules(workspace_id)$
-- Rules of a workspace are changed in turn, so that their order and number are whole.
SELECT pg_advisory_xact_lock(hashtextextended((:workspace_id::uuid)::text, 32));

-- name: read_order(workspace_id)
-- The rules that are there, in their order.
SELECT rule_id FROM datalane.agent_tool_rules
WHERE workspace_id = :workspace_id AND deleted_at IS NULL ORDER BY position, rule_id;

-- name: add_rule(workspace_id, rule_id, position, enabled, now, actor_id)!
-- A rule, whose first version comes with it.
INSERT INTO datalane.agent_tool_rules (workspace_id, rule_id, position, enabled, current_version, created_at, updated_at,
                                       created_by_actor_id, updated_by_actor_id)
VALUES (:workspace_id, :rule_id, :position, :enabled, 1, :now, :now, :actor_id, :actor_id);

-- name: add_version(workspace_id, rule_id, version, effect, tool_pattern, side_effect, below_role, agent, reason, now, actor_id)!
-- A version, for good.
INSERT INTO datalane.agent_tool_rule_versions (workspace_id, rule_id, version, effect, tool_pattern, side_effect, below_role,
                                               agent, reason, published_at, published_by_actor_id)
VALUES (:workspace_id, :rule_id, :version, :effect, :tool_pattern, :side_effect, :below_role, :agent, :reason, :now,
        :actor_id);

-- name: set_version(workspace_id, rule_id, version, now, actor_id)!
-- The version that is current from now on, after the one before it.
UPDATE datalane.agent_tool_rules SET current_version = :version, updated_at = :now, updated_by_actor_id = :actor_id
WHERE workspace_id = :workspace_id AND rule_id = :rule_id AND current_version = :version - 1;

-- name: set_enabled(workspace_id, rule_id, enabled, reason, now, actor_id)!
-- Whether a rule is asked, and why not.
UPDATE datalane.agent_tool_rules
SET enabled = :enabled, disabled_reason = :reason, updated_at = :now, updated_by_actor_id = :actor_id
WHERE workspace_id = :workspace_id AND rule_id = :rule_id;

-- name: delete_rule(workspace_id, rule_id, now, actor_id)!
-- A rule that is asked no more; what it said stays.
UPDATE datalane.agent_tool_rules
SET enabled = false, deleted_at = :now, updated_at = :now, updated_by_actor_id = :actor_id
WHERE workspace_id = :workspace_id AND rule_id = :rule_id;

-- name: place_rules(workspace_id, rule_ids)!
-- The places of rules, in this order from 1 on.
UPDATE datalane.agent_tool_rules r SET position = i.place
FROM unnest(:rule_ids::uuid[]) WITH ORDINALITY AS i (rule_id, place)
WHERE r.workspace_id = :workspace_id AND r.rule_id = i.rule_id AND r.position <> i.place;

-- name: get_rule(workspace_id, rule_id)^
-- A rule as its current version says it, also one that was deleted.
SELECT r.rule_id, CASE WHEN r.deleted_at IS NULL THEN r.position END AS position, r.enabled, r.disabled_reason,
       r.current_version, v.effect, v.tool_pattern, v.side_effect, v.below_role, v.agent, v.reason, r.created_at,
       r.updated_at, r.deleted_at, r.created_by_actor_id, r.updated_by_actor_id
FROM datalane.agent_tool_rules r
JOIN datalane.agent_tool_rule_versions v
    ON v.workspace_id = r.workspace_id AND v.rule_id = r.rule_id AND v.version = r.current_version
WHERE r.workspace_id = :workspace_id AND r.rule_id = :rule_id;

-- name: list_rules(workspace_id)
-- The rules that are there, in their order.
SELECT r.rule_id, r.position, r.enabled, r.disabled_reason, r.current_version, v.effect, v.tool_pattern, v.side_effect,
       v.below_role, v.agent, v.reason, r.created_at, r.updated_at, r.deleted_at, r.created_by_actor_id,
       r.updated_by_actor_id
FROM datalane.agent_tool_rules r
JOIN datalane.agent_tool_rule_versions v
    ON v.workspace_id = r.workspace_id AND v.rule_id = r.rule_id AND v.version = r.current_version
WHERE r.workspace_id = :workspace_id AND r.deleted_at IS NULL ORDER BY r.position, r.rule_id;

-- name: list_versions(workspace_id, rule_id, most)
-- The newest versions of a rule.
SELECT version, effect, tool_pattern, side_effect, below_role, agent, reason, published_at, published_by_actor_id
FROM datalane.agent_tool_rule_versions
WHERE workspace_id = :workspace_id AND rule_id = :rule_id ORDER BY version DESC LIMIT :most;
