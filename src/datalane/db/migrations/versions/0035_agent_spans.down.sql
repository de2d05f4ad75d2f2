SET LOCAL ROLE datalane_definer;
CREATE OR REPLACE FUNCTION datalane.delete_agent_runs(homes uuid[], runs uuid[], OUT deleted integer, OUT outer_homes uuid[], OUT outer_runs uuid[])
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
CREATE OR REPLACE FUNCTION datalane.hold_agent_run(run uuid, token bigint)
RETURNS datalane.agent_runs LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    held datalane.agent_runs;
BEGIN
    SELECT r.* INTO held FROM datalane.agent_runs r
    WHERE r.workspace_id = app.workspace_id() AND r.run_id = run FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such agent run' USING ERRCODE = 'DL404';
    END IF;
    IF held.lease_token IS DISTINCT FROM token OR held.status NOT IN ('running', 'waiting_tool') THEN
        RAISE EXCEPTION 'the lease of the agent run was lost: it is % and held by another, or by nobody', held.status
            USING ERRCODE = 'DL410';
    END IF;
    RETURN held;
END $$;
CREATE OR REPLACE FUNCTION datalane.lose_agent_run(workspace uuid, run uuid, deadline timestamptz, at timestamptz)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    lost datalane.agent_runs; message constant text := 'the runtime was not heard of until its lease ran out';
BEGIN
    PERFORM datalane.close_tool_calls(workspace, run, 'timeout', message, at);
    SELECT r.* INTO lost FROM datalane.agent_runs r WHERE r.workspace_id = workspace AND r.run_id = run;
    IF lost.attempt_count >= lost.max_attempts THEN
        PERFORM datalane.move_agent_run(workspace, run, 'failed', NULL, at, 'timeout', message, 'lease_lost');
        RETURN false;
    END IF;
    IF lost.status = 'running' THEN
        PERFORM datalane.move_agent_run(workspace, run, 'waiting_tool', deadline, at, NULL, NULL, 'lease_lost');
    END IF;
    PERFORM datalane.move_agent_run(workspace, run, 'retrying', deadline, at, 'timeout', message, 'lease_lost');
    RETURN true;
END $$;
DROP FUNCTION datalane.forget_agent_traces;
DROP FUNCTION datalane.take_agent_spans;
DROP FUNCTION datalane.tell_agent_run_by_spans;
DROP FUNCTION datalane.write_span_calls;
DROP FUNCTION datalane.write_span_steps;
DROP FUNCTION datalane.sum_span_costs;
DROP FUNCTION datalane.keep_agent_spans;
DROP FUNCTION datalane.open_agent_trace;
DROP FUNCTION datalane.end_agent_run_by_span;
DROP FUNCTION datalane.speaking_span;
SET LOCAL ROLE datalane_owner;
DROP TABLE datalane.agent_spans;
DROP TABLE datalane.agent_traces;
