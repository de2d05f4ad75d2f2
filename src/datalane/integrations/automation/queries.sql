-- name: lock_rules(workspace_id)$
-- Rules of a workspace are made in turn, so that their number is bounded.
SELECT pg_advisory_xact_lock(hashtextextended((:workspace_id::uuid)::text, 28));

-- name: count_rules(workspace_id)$
-- How many rules there are.
SELECT count(*) FROM datalane.automation_rules WHERE workspace_id = :workspace_id;

-- name: has_name(workspace_id, name)$
-- Whether a rule has this name.
SELECT EXISTS (SELECT FROM datalane.automation_rules WHERE workspace_id = :workspace_id AND name = :name);

-- name: add_subscription(workspace_id, subscription_id, event_type, kind, args, enabled)!
-- What leaves one job for each event of the type.
INSERT INTO datalane.subscriptions (workspace_id, subscription_id, event_type, kind, args, enabled)
VALUES (:workspace_id, :subscription_id, :event_type, :kind, :args, :enabled);

-- name: set_subscription(workspace_id, subscription_id, args, enabled)!
-- What events leave from now on.
UPDATE datalane.subscriptions SET args = :args, enabled = :enabled
WHERE workspace_id = :workspace_id AND subscription_id = :subscription_id;

-- name: add_rule(workspace_id, rule_id, name, event_type, enabled, subscription_id, now, actor_id)!
-- A rule, whose first version comes with it.
INSERT INTO datalane.automation_rules (workspace_id, rule_id, name, event_type, enabled, current_version, subscription_id,
                                       created_at, updated_at, created_by_actor_id, updated_by_actor_id)
VALUES (:workspace_id, :rule_id, :name, :event_type, :enabled, 1, :subscription_id, :now, :now, :actor_id, :actor_id);

-- name: add_version(workspace_id, rule_id, version, condition, actions, now, actor_id)!
-- A version, for good.
INSERT INTO datalane.automation_rule_versions (workspace_id, rule_id, version, condition, actions, published_at,
                                               published_by_actor_id)
VALUES (:workspace_id, :rule_id, :version, :condition, :actions, :now, :actor_id);

-- name: lock_rule(workspace_id, rule_id)^
-- A rule that nobody else changes until the transaction ends.
SELECT rule_id, name, enabled, current_version, subscription_id FROM datalane.automation_rules
WHERE workspace_id = :workspace_id AND rule_id = :rule_id FOR UPDATE;

-- name: set_version(workspace_id, rule_id, version, now, actor_id)!
-- The version that is current from now on, after the one before it.
UPDATE datalane.automation_rules SET current_version = :version, updated_at = :now, updated_by_actor_id = :actor_id
WHERE workspace_id = :workspace_id AND rule_id = :rule_id AND current_version = :version - 1;

-- name: set_enabled(workspace_id, rule_id, enabled, reason, now, actor_id)!
-- Whether a rule runs, and why not.
UPDATE datalane.automation_rules
SET enabled = :enabled, disabled_reason = :reason, updated_at = :now, updated_by_actor_id = :actor_id
WHERE workspace_id = :workspace_id AND rule_id = :rule_id;

-- name: get_rule(workspace_id, rule_id)^
-- A rule as its current version says it.
SELECT r.rule_id, r.name, r.event_type, r.enabled, r.disabled_reason, r.current_version, v.condition, v.actions, r.created_at,
       r.updated_at, r.created_by_actor_id, r.updated_by_actor_id
FROM datalane.automation_rules r
JOIN datalane.automation_rule_versions v
    ON v.workspace_id = r.workspace_id AND v.rule_id = r.rule_id AND v.version = r.current_version
WHERE r.workspace_id = :workspace_id AND r.rule_id = :rule_id;

-- name: list_rules(workspace_id, event_type, enabled, before, page_size)
-- Rules as their current versions say them, the newest first.
SELECT r.rule_id, r.name, r.event_type, r.enabled, r.disabled_reason, r.current_version, v.condition, v.actions, r.created_at,
       r.updated_at, r.created_by_actor_id, r.updated_by_actor_id
FROM datalane.automation_rules r
JOIN datalane.automation_rule_versions v
    ON v.workspace_id = r.workspace_id AND v.rule_id = r.rule_id AND v.version = r.current_version
WHERE r.workspace_id = :workspace_id AND (:before::uuid IS NULL OR r.rule_id < :before)
  AND (:event_type::text IS NULL OR r.event_type = :event_type) AND (:enabled::boolean IS NULL OR r.enabled = :enabled)
ORDER BY r.rule_id DESC LIMIT :page_size;

-- name: list_versions(workspace_id, rule_id, most)
-- The newest versions of a rule.
SELECT version, condition, actions, published_at, published_by_actor_id FROM datalane.automation_rule_versions
WHERE workspace_id = :workspace_id AND rule_id = :rule_id ORDER BY version DESC LIMIT :most;

-- name: lock_enabled_rules(workspace_id)
-- The enabled rules, which nobody changes until the transaction ends. By itself: a join would leave out a rule of which another
-- version was published while it waited.
SELECT rule_id FROM datalane.automation_rules WHERE workspace_id = :workspace_id AND enabled ORDER BY rule_id FOR UPDATE;

-- name: read_rules(workspace_id, rule_ids)
-- Rules with the actions of their current versions.
SELECT r.rule_id, r.current_version, r.subscription_id, v.actions
FROM datalane.automation_rules r
JOIN datalane.automation_rule_versions v
    ON v.workspace_id = r.workspace_id AND v.rule_id = r.rule_id AND v.version = r.current_version
WHERE r.workspace_id = :workspace_id AND r.rule_id = ANY (:rule_ids::uuid[]) ORDER BY r.rule_id;

-- name: get_switch(workspace_id)^
-- The switch of the workspace, if it was ever moved.
SELECT enabled, reason, changed_at, changed_by_actor_id FROM datalane.automation_switches WHERE workspace_id = :workspace_id;

-- name: put_switch(workspace_id, enabled, reason, now, actor_id)!
-- Move the switch.
INSERT INTO datalane.automation_switches (workspace_id, enabled, reason, changed_at, changed_by_actor_id)
VALUES (:workspace_id, :enabled, :reason, :now, :actor_id)
ON CONFLICT (workspace_id) DO UPDATE SET enabled = excluded.enabled, reason = excluded.reason,
    changed_at = excluded.changed_at, changed_by_actor_id = excluded.changed_by_actor_id;
