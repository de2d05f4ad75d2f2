-- Whether what a run was given and has answered is gone: a null says nothing then.
ALTER TABLE datalane.agent_runs ADD COLUMN artifacts_forgotten boolean NOT NULL DEFAULT false;
CREATE INDEX agent_runs_by_end ON datalane.agent_runs (artifacts_forgotten, completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX agent_effects_by_time ON datalane.agent_effects (recorded_at);

SET LOCAL ROLE datalane_definer;

-- Runs that ended longer than `kept` ago lose what they were given and have answered, with their steps and calls, in bites: those that
-- ended first come first. A run with a call that waits for a person stays as it is, since that is what the person decides about, and
-- so does one that somebody else has in hand just now. Usage, costs and decisions stay. Answers how many runs.
CREATE FUNCTION datalane.forget_agent_artifacts(kept interval, most integer DEFAULT 500, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
DECLARE
    bound constant timestamptz := greatest(coalesce(now, clock_timestamp()) - kept, 'epoch');
    homes uuid[]; old uuid[];
BEGIN
    SELECT array_agg(o.workspace_id), array_agg(o.run_id) INTO homes, old FROM (
        SELECT r.workspace_id, r.run_id FROM datalane.agent_runs r
        WHERE NOT r.artifacts_forgotten AND r.completed_at < bound AND NOT EXISTS (
            SELECT FROM datalane.tool_calls c
            WHERE c.workspace_id = r.workspace_id AND c.run_id = r.run_id AND c.approval_until IS NOT NULL)
        ORDER BY r.completed_at LIMIT most FOR UPDATE OF r SKIP LOCKED) o;
    UPDATE datalane.agent_steps s SET input = NULL, output = NULL FROM unnest(homes, old) AS o (workspace, run)
    WHERE s.workspace_id = o.workspace AND s.run_id = o.run AND (s.input IS NOT NULL OR s.output IS NOT NULL);
    UPDATE datalane.tool_calls c SET arguments = NULL, result = NULL FROM unnest(homes, old) AS o (workspace, run)
    WHERE c.workspace_id = o.workspace AND c.run_id = o.run AND (c.arguments IS NOT NULL OR c.result IS NOT NULL);
    UPDATE datalane.agent_runs r SET input = NULL, output = NULL, artifacts_forgotten = true
    FROM unnest(homes, old) AS o (workspace, run) WHERE r.workspace_id = o.workspace AND r.run_id = o.run;
    RETURN coalesce(cardinality(old), 0);
END $$;

-- Delete runs whose rows the caller holds, with their steps, calls and changes of status, but for those that have a run inside them or
-- a call that waits for a person. Answers how many, and the runs that they were inside of.
CREATE FUNCTION datalane.delete_agent_runs(homes uuid[], runs uuid[], OUT deleted integer, OUT outer_homes uuid[], OUT outer_runs uuid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
BEGIN
    SELECT array_agg(o.workspace), array_agg(o.run) INTO homes, runs FROM unnest(homes, runs) AS o (workspace, run)
    WHERE NOT EXISTS (SELECT FROM datalane.agent_runs i WHERE i.workspace_id = o.workspace AND i.parent_run_id = o.run)
      AND NOT EXISTS (SELECT FROM datalane.tool_calls c
                      WHERE c.workspace_id = o.workspace AND c.run_id = o.run AND c.approval_until IS NOT NULL);
    DELETE FROM datalane.agent_steps s USING unnest(homes, runs) AS o (workspace, run)
    WHERE s.workspace_id = o.workspace AND s.run_id = o.run;
    DELETE FROM datalane.tool_calls c USING unnest(homes, runs) AS o (workspace, run)
    WHERE c.workspace_id = o.workspace AND c.run_id = o.run;
    DELETE FROM datalane.agent_transitions t USING unnest(homes, runs) AS o (workspace, run)
    WHERE t.workspace_id = o.workspace AND t.run_id = o.run;
    WITH gone AS (
        DELETE FROM datalane.agent_runs r USING unnest(homes, runs) AS o (workspace, run)
        WHERE r.workspace_id = o.workspace AND r.run_id = o.run
        RETURNING r.workspace_id, r.parent_run_id
    ), above AS (
        SELECT DISTINCT g.workspace_id, g.parent_run_id FROM gone g WHERE g.parent_run_id IS NOT NULL
    )
    SELECT array_agg(a.workspace_id), array_agg(a.parent_run_id), (SELECT count(*) FROM gone)
    INTO outer_homes, outer_runs, deleted FROM above a;
END $$;

-- Runs that ended longer than `kept` ago are forgotten whole, in bites: those that ended first come first, and a run goes after all
-- that were inside it. Children are looked for once more when the row is held: none can be begun from then on. Answers how many runs.
CREATE FUNCTION datalane.forget_agent_runs(kept interval, most integer DEFAULT 500, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
DECLARE
    bound constant timestamptz := greatest(coalesce(now, clock_timestamp()) - kept, 'epoch');
    is_forgotten boolean; homes uuid[]; old uuid[]; gone integer; total integer := 0;
BEGIN
    FOREACH is_forgotten IN ARRAY ARRAY[true, false] LOOP
        SELECT array_agg(o.workspace_id), array_agg(o.run_id) INTO homes, old FROM (
            SELECT r.workspace_id, r.run_id FROM datalane.agent_runs r
            WHERE r.artifacts_forgotten = is_forgotten AND r.completed_at < bound
              AND NOT EXISTS (SELECT FROM datalane.agent_runs i WHERE i.workspace_id = r.workspace_id AND i.parent_run_id = r.run_id)
              AND NOT EXISTS (SELECT FROM datalane.tool_calls c
                              WHERE c.workspace_id = r.workspace_id AND c.run_id = r.run_id AND c.approval_until IS NOT NULL)
            ORDER BY r.completed_at LIMIT most - total FOR UPDATE OF r SKIP LOCKED) o;
        WHILE old IS NOT NULL LOOP
            SELECT d.deleted, d.outer_homes, d.outer_runs INTO gone, homes, old FROM datalane.delete_agent_runs(homes, old) AS d;
            total := total + gone;
            SELECT array_agg(o.workspace_id), array_agg(o.run_id) INTO homes, old FROM (
                SELECT r.workspace_id, r.run_id FROM datalane.agent_runs r
                JOIN unnest(homes, old) AS a (workspace, run) ON r.workspace_id = a.workspace AND r.run_id = a.run
                WHERE r.completed_at < bound LIMIT most - total FOR UPDATE OF r SKIP LOCKED) o;
        END LOOP;
    END LOOP;
    RETURN total;
END $$;

-- What tools did is kept by its own age, whatever becomes of the run: with it goes what the idempotency key protects from. In bites, the
-- first recorded come first. Answers how many.
CREATE FUNCTION datalane.forget_agent_effects(kept interval, most integer DEFAULT 10000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
DECLARE
    bound constant timestamptz := greatest(coalesce(now, clock_timestamp()) - kept, 'epoch'); total integer;
BEGIN
    DELETE FROM datalane.agent_effects e USING (
        SELECT o.workspace_id, o.tool_name, o.idempotency_key FROM datalane.agent_effects o
        WHERE o.recorded_at < bound ORDER BY o.recorded_at LIMIT most) o
    WHERE e.workspace_id = o.workspace_id AND e.tool_name = o.tool_name AND e.idempotency_key = o.idempotency_key;
    GET DIAGNOSTICS total = ROW_COUNT;
    RETURN total;
END $$;

REVOKE ALL ON FUNCTION
    datalane.forget_agent_artifacts(interval, integer, timestamptz),
    datalane.delete_agent_runs(uuid[], uuid[]),
    datalane.forget_agent_runs(interval, integer, timestamptz),
    datalane.forget_agent_effects(interval, integer, timestamptz)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    datalane.forget_agent_artifacts(interval, integer, timestamptz),
    datalane.forget_agent_runs(interval, integer, timestamptz),
    datalane.forget_agent_effects(interval, integer, timestamptz)
TO datalane_maintenance;
SET LOCAL ROLE datalane_owner;
