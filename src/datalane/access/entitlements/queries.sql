-- What a workspace may.

-- name: plan_at(at)^
-- The plan that is enforced at a moment.
SELECT plan_id, plan_version, status, effective_at, expires_at, source FROM datalane.plan_at(:at);

-- name: entitlements_at(at, only_key)
-- Features that the plan or an override names, by key.
SELECT feature_key, entitlement_status, plan_id, plan_version, effective_at, expires_at, override_id, override_source, updated_by_actor_id
FROM datalane.entitlements_at(:at, :only_key);

-- name: get_version(workspace_id)$
-- How often what a workspace may was changed.
SELECT v.version FROM datalane.entitlement_versions v WHERE v.workspace_id = :workspace_id;

-- name: assign_plan(plan_id, status, effective_at, expires_at, source, reason, now)$
-- A plan from a moment on.
SELECT datalane.assign_plan(:plan_id, :status, :effective_at, :expires_at, :source, :reason, :now);

-- name: cancel_plan(assignment_id, reason, now)$
-- Not the plan that was to begin.
SELECT datalane.cancel_plan(:assignment_id, :reason, :now);

-- name: override(kind, key, reason, status, limit_units, effective_at, expires_at, source, now)$
-- Something beside the plan.
SELECT datalane.override_entitlement(:kind, :key, :reason, :status, :limit_units, :effective_at, :expires_at, :source, :now);

-- name: end_override(override_id, reason, now)$
-- Nothing beside the plan any more.
SELECT datalane.end_override(:override_id, :reason, :now);
