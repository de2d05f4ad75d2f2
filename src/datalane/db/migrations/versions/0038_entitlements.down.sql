SET LOCAL ROLE datalane_definer;
-- The guard as the release before has it.
CREATE OR REPLACE FUNCTION datalane.require_rank(needed integer)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    IF app.workspace_id() IS NULL THEN
        RAISE EXCEPTION 'no workspace: open the transaction through the tenant door' USING ERRCODE = 'DL403';
    END IF;
    IF app.actor_rank() < needed THEN
        RAISE EXCEPTION 'the role may not do this; it takes % or above', (ARRAY['viewer', 'member', 'admin', 'owner'])[needed]
            USING ERRCODE = 'DL403';
    END IF;
END $$;
DROP FUNCTION datalane.quotas_in(uuid, timestamptz, text);
DROP FUNCTION datalane.entitlements_at(timestamptz, text);
DROP FUNCTION datalane.features_in(uuid, timestamptz);
DROP FUNCTION datalane.entitlements_in(uuid, timestamptz, text);
DROP FUNCTION datalane.plan_timeline(timestamptz, timestamptz);
DROP FUNCTION datalane.plan_at(timestamptz);
DROP FUNCTION datalane.plan_in(uuid, timestamptz);
DROP FUNCTION datalane.end_override(uuid, text, timestamptz);
DROP FUNCTION datalane.override_entitlement(text, text, text, text, bigint, timestamptz, timestamptz, text, timestamptz);
DROP FUNCTION datalane.cancel_plan(uuid, text, timestamptz);
DROP FUNCTION datalane.assign_plan(text, text, timestamptz, timestamptz, text, text, timestamptz);
DROP FUNCTION datalane.move_entitlements(uuid, timestamptz);
DROP FUNCTION datalane.retire_plan(text, timestamptz);
DROP FUNCTION datalane.register_plan(text, text[], jsonb, boolean, timestamptz);
DROP FUNCTION datalane.check_agreed(text, text);
DROP FUNCTION datalane.told_time(timestamptz);
SET LOCAL ROLE datalane_owner;
DROP TABLE datalane.entitlement_versions;
DROP TABLE datalane.entitlement_overrides;
DROP TABLE datalane.workspace_plans;
DROP TABLE datalane.plan_quotas;
DROP TABLE datalane.plans;
