-- Spans are taken. What becomes of a run depends on the spans that are known and on nothing else: not on their order, nor on how
-- they were batched. So each counts once, and what a run says of itself is told anew from all of them. Only the end of a run stays
-- as it was decided: by its root when that came, else by the sweep.
SET LOCAL ROLE datalane_definer;

-- A run that spans tell is held by nobody.
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
    IF held.source <> 'runtime' THEN
        RAISE EXCEPTION 'the agent run is told by spans; nobody else writes it' USING ERRCODE = 'DL409';
    END IF;
    IF held.lease_token IS DISTINCT FROM token OR held.status NOT IN ('running', 'waiting_tool') THEN
        RAISE EXCEPTION 'the lease of the agent run was lost: it is % and held by another, or by nobody', held.status
            USING ERRCODE = 'DL410';
    END IF;
    RETURN held;
END $$;

-- The span that speaks for its run: the root, else the first one of an agent, else the first one. What has begun first stands above
-- what it began; ids decide between equals, so that the answer is always the same.
CREATE FUNCTION datalane.speaking_span(workspace uuid, trace text, agents_first boolean, has_agent boolean, has_conversation boolean)
RETURNS datalane.agent_spans LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    found_span datalane.agent_spans;
BEGIN
    SELECT s.* INTO found_span FROM datalane.agent_spans s
    WHERE s.workspace_id = workspace AND s.trace_id = trace
      AND (s.agent IS NOT NULL OR NOT has_agent) AND (s.conversation IS NOT NULL OR NOT has_conversation)
    ORDER BY agents_first AND s.kind = 'agent' DESC, s.parent_span_id IS NULL DESC, s.kind = 'agent' DESC, s.started_at,
             s.ended_at DESC, s.span_id
    LIMIT 1;
    RETURN found_span;
END $$;

-- A held run whose lease has run out: `retrying` while attempts are left, else failed. One that spans tell ends as its agent did, when
-- that is known without its root. The caller holds its row. Answers whether it is to be tried again.
CREATE OR REPLACE FUNCTION datalane.lose_agent_run(workspace uuid, run uuid, deadline timestamptz, at timestamptz)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    lost datalane.agent_runs; speaking datalane.agent_spans;
    message constant text := 'the runtime was not heard of until its lease ran out';
BEGIN
    PERFORM datalane.close_tool_calls(workspace, run, 'timeout', message, at);
    SELECT r.* INTO lost FROM datalane.agent_runs r WHERE r.workspace_id = workspace AND r.run_id = run;
    IF lost.source = 'spans' THEN
        speaking := datalane.speaking_span(workspace, lost.source_run_id, true, false, false);
        IF speaking.kind = 'agent' THEN
            PERFORM datalane.end_agent_run_by_span(workspace, run, speaking, 'agent_span', at);
        ELSE
            PERFORM datalane.move_agent_run(workspace, run, 'failed', NULL, at, 'timeout',
                                            'neither the root span nor that of an agent came in time', 'root_missing');
        END IF;
        RETURN false;
    END IF;
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

-- The run ends as the span did, at its time.
CREATE FUNCTION datalane.end_agent_run_by_span(workspace uuid, run uuid, span datalane.agent_spans, reason text, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.move_agent_run(workspace, run, CASE WHEN span.error_class IS NULL THEN 'completed' ELSE 'failed' END, NULL, at,
                                    span.error_class, span.error_message, reason);
    UPDATE datalane.agent_runs r SET completed_at = span.ended_at WHERE r.workspace_id = workspace AND r.run_id = run;
END $$;

-- The run of a trace, with the row of the trace locked; null where there is none and none is `wanted`.
CREATE FUNCTION datalane.open_agent_trace(
    workspace uuid, trace text, wanted boolean, scopes text[], patience interval, at timestamptz)
RETURNS TABLE (run_id uuid, created boolean) LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
BEGIN
    LOOP
        INSERT INTO datalane.agent_traces (workspace_id, trace_id, received_at) VALUES (workspace, trace, at)
        ON CONFLICT DO NOTHING;
        SELECT t.run_id INTO run_id FROM datalane.agent_traces t
        WHERE t.workspace_id = workspace AND t.trace_id = trace FOR UPDATE;
        EXIT WHEN FOUND;  -- else it was forgotten in between
    END LOOP;
    created := wanted AND run_id IS NULL;
    IF created THEN
        run_id := app.uuid7();
        INSERT INTO datalane.agent_runs (
            workspace_id, run_id, agent, source, source_run_id, status, attempt_count, max_attempts, actor_id, actor_rank, scopes,
            correlation_id, causation_depth, lease_token, runtime, deadline_at, entries, created_at, started_at)
        VALUES (workspace, run_id, 'unknown', 'spans', trace, 'running', 1, 1, app.actor_id(), app.actor_rank(), scopes,
                app.correlation_id(), 0, 0, 'unknown', at + patience, 2, at, at);
        INSERT INTO datalane.agent_transitions (
            workspace_id, run_id, ordinal, from_status, to_status, attempt, lease_token, runtime, reason, at)
        VALUES (workspace, run_id, 1, NULL, 'queued', 0, 0, NULL, 'spans.observed', at),
               (workspace, run_id, 2, 'queued', 'running', 1, 0, NULL, 'spans.observed', at);
        UPDATE datalane.agent_traces t SET run_id = run_id WHERE t.workspace_id = workspace AND t.trace_id = trace;
    END IF;
    RETURN NEXT;
END $$;

-- Keep the spans that are not known yet, and answer them. The caller holds the row of the trace.
CREATE FUNCTION datalane.keep_agent_spans(workspace uuid, trace text, spans jsonb, at timestamptz)
RETURNS jsonb LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    WITH told AS (
        SELECT DISTINCT ON (s.span->>'span_id') s.span, s.span->>'span_id' AS span_id
        FROM jsonb_array_elements(spans) WITH ORDINALITY AS s (span, place) ORDER BY s.span->>'span_id', s.place
    ), kept AS (
        INSERT INTO datalane.agent_spans (workspace_id, trace_id, span_id, parent_span_id, kind, agent, service, conversation,
                                          error_class, error_message, started_at, ended_at, received_at)
        SELECT workspace, trace, told.span_id, x.parent_span_id, x.kind, x.agent, x.service, x.conversation, x.error_class,
               left(x.error_message, 2000), x.started_at, x.ended_at, at
        FROM told CROSS JOIN LATERAL jsonb_to_record(told.span) AS x (
            parent_span_id text, kind text, agent text, service text, conversation text, error_class text, error_message text,
            started_at timestamptz, ended_at timestamptz)
        ON CONFLICT DO NOTHING RETURNING span_id
    )
    SELECT coalesce(jsonb_agg(told.span), '[]') FROM told JOIN kept USING (span_id)
$$;

-- Record the steps among new spans. A cost is by the price that held when the span began, as it says itself: so it is the same however
-- late the span comes. No price of a time to come is known yet.
CREATE FUNCTION datalane.write_span_steps(workspace uuid, run uuid, fresh jsonb, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    steps constant jsonb := (
        SELECT jsonb_agg(f.span || jsonb_build_object('kind', f.span->'step', 'source_id', f.span->'span_id')
                         ORDER BY (f.span->>'started_at')::timestamptz, f.span->>'span_id')
        FROM jsonb_array_elements(fresh) AS f (span) WHERE f.span->>'step' IS NOT NULL);
BEGIN
    IF steps IS NOT NULL THEN
        PERFORM datalane.write_agent_steps(workspace, run, NULL, steps, at);
        PERFORM datalane.sum_span_costs(workspace, run);
    END IF;
END $$;

-- Of costs in several currencies the sum is in the first one by its name, not in that of the step that came first; a step of another
-- one is not in it, and counts as one whose price is not known. In one currency the sum stands already.
CREATE FUNCTION datalane.sum_span_costs(workspace uuid, run uuid)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    WITH priced AS (
        SELECT s.kind, s.cost, p.currency FROM datalane.agent_steps s
        LEFT JOIN datalane.agent_prices p ON p.workspace_id = workspace AND p.price_version_id = s.price_version_id
        WHERE s.workspace_id = workspace AND s.run_id = run
    ), summing AS (
        SELECT min(priced.currency) AS currency FROM priced HAVING min(priced.currency) <> max(priced.currency)
    )
    UPDATE datalane.agent_runs r SET currency = t.currency, cost = t.cost, unpriced_steps = t.unpriced_steps
    FROM (
        SELECT summing.currency, sum(priced.cost) FILTER (WHERE priced.currency = summing.currency) AS cost,
               count(*) FILTER (WHERE priced.kind = 'model' AND (priced.cost IS NULL OR priced.currency <> summing.currency))
                   AS unpriced_steps
        FROM priced CROSS JOIN summing GROUP BY summing.currency) AS t
    WHERE r.workspace_id = workspace AND r.run_id = run
$$;

-- Record the calls of tools among new spans, as they happened: nobody was asked. Each takes its edges all the same.
CREATE FUNCTION datalane.write_span_calls(workspace uuid, run uuid, fresh jsonb, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    before integer;
BEGIN
    SELECT r.entries INTO before FROM datalane.agent_runs r WHERE r.workspace_id = workspace AND r.run_id = run;
    WITH said AS MATERIALIZED (
        SELECT app.uuid7() AS tool_call_id, x.*, CASE WHEN x.error_class IS NULL THEN 'succeeded' ELSE 'failed' END AS status,
               before + 4 * (row_number() OVER (ORDER BY x.started_at, x.span_id) - 1) AS place
        FROM jsonb_to_recordset(fresh) AS x (
            span_id text, kind text, tool text, arguments jsonb, arguments_digest text, result jsonb, reason text,
            error_class text, error_message text, started_at timestamptz, ended_at timestamptz)
        WHERE x.kind = 'tool'
    ), moved AS (
        INSERT INTO datalane.agent_transitions (workspace_id, run_id, ordinal, tool_call_id, from_status, to_status, attempt,
                                                lease_token, runtime, error_class, error_message, reason, at)
        SELECT workspace, run, said.place + e.number, said.tool_call_id, e.source, coalesce(e.target, said.status), e.attempt, 0, NULL,
               CASE WHEN e.number = 4 THEN said.error_class END, CASE WHEN e.number = 4 THEN left(said.error_message, 2000) END,
               'spans.observed', at
        FROM said CROSS JOIN (VALUES (2, 'requested', 'authorized', 0), (3, 'authorized', 'executing', 1), (4, 'executing', NULL, 1))
            AS e (number, source, target, attempt)
    )
    INSERT INTO datalane.tool_calls (
        workspace_id, tool_call_id, run_id, ordinal, tool_name, tool_version, side_effect, serial, status, attempt_count, max_attempts,
        arguments, arguments_digest, result, rule_id, rule_version, reason, error_class, error_message, requested_at, started_at,
        ended_at)
    SELECT workspace, said.tool_call_id, run, said.place + 1, said.tool, v.version, v.side_effect,
           coalesce(v.execution = 'serial', true), said.status, 1, 1, said.arguments, decode(said.arguments_digest, 'hex'),
           said.result, 'spans.observed', 1, left(said.reason, 500), said.error_class, left(said.error_message, 2000), said.started_at,
           said.started_at, said.ended_at
    FROM said
    LEFT JOIN datalane.agent_tools t ON t.workspace_id = workspace AND t.tool_name = said.tool
    LEFT JOIN datalane.agent_tool_versions v
        ON v.workspace_id = workspace AND v.tool_name = t.tool_name AND v.version = t.current_version;
    UPDATE datalane.agent_runs r SET entries = r.entries + 4 * (
        SELECT count(*) FROM datalane.tool_calls c WHERE c.workspace_id = workspace AND c.run_id = run AND c.ordinal > before)
    WHERE r.workspace_id = workspace AND r.run_id = run;
    PERFORM datalane.tell_of_tool_call(workspace, c.tool_call_id, at) FROM (
        SELECT c.tool_call_id FROM datalane.tool_calls c
        WHERE c.workspace_id = workspace AND c.run_id = run AND c.ordinal > before ORDER BY c.ordinal) AS c;
END $$;

-- What a run says of itself, told anew from all spans that are known of it. `fresh` are those that became known now: they alone hold
-- what the agent was given and has answered. What comes after the contents were forgotten has contents of its own, to be forgotten too.
CREATE FUNCTION datalane.tell_agent_run_by_spans(
    workspace uuid, run uuid, trace text, fresh jsonb, patience interval, at timestamptz)
RETURNS datalane.agent_spans LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    top datalane.agent_spans := datalane.speaking_span(workspace, trace, false, false, false);
    agent datalane.agent_spans := datalane.speaking_span(workspace, trace, true, false, false);
    named constant text := (datalane.speaking_span(workspace, trace, true, true, false)).agent;
    talk constant text := (datalane.speaking_span(workspace, trace, true, false, true)).conversation;
    began timestamptz := top.started_at; said jsonb; is_root constant boolean := top.parent_span_id IS NULL;
BEGIN
    IF NOT is_root THEN
        SELECT min(s.started_at) INTO began FROM datalane.agent_spans s WHERE s.workspace_id = workspace AND s.trace_id = trace;
    END IF;
    IF agent.kind = 'agent' THEN
        SELECT f.span INTO said FROM jsonb_array_elements(fresh) AS f (span) WHERE f.span->>'span_id' = agent.span_id;
    END IF;
    UPDATE datalane.agent_runs r
    SET agent = coalesce(named, top.service), runtime = top.service, started_at = began,
        thread_id = (SELECT t.thread_id FROM datalane.agent_threads t WHERE t.workspace_id = workspace AND t.external_id = talk),
        completed_at = CASE WHEN r.completed_at IS NOT NULL AND is_root THEN top.ended_at ELSE r.completed_at END,
        deadline_at = CASE WHEN r.deadline_at IS NOT NULL THEN at + patience END,
        input = CASE WHEN said IS NULL THEN r.input ELSE said->'input' END,
        output = CASE WHEN said IS NULL THEN r.output ELSE said->'output' END,
        artifacts_forgotten = false
    WHERE r.workspace_id = workspace AND r.run_id = run;
    RETURN top;
END $$;

-- Take spans that have ended, of one trace: an array of objects with the columns of `datalane.agent_spans`. Those of kind `other`
-- matter for a run that another span tells of. `step` says as which kind of step one counts, with the columns of a step; a `tool` has
-- `tool`, `arguments`, `arguments_digest` in hexadecimal and `result`. What is known already changes nothing. Answers the run, null
-- where nothing was said of an agent yet, and how many were new. `patience` is how long to wait for the root after the last news.
CREATE FUNCTION datalane.take_agent_spans(
    trace text, spans jsonb, scopes text[] DEFAULT NULL, patience interval DEFAULT '24 hours', now timestamptz DEFAULT NULL)
RETURNS TABLE (run_id uuid, kept integer) LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at constant timestamptz := coalesce(now, clock_timestamp());
    is_new boolean; fresh jsonb; top datalane.agent_spans;
BEGIN
    PERFORM datalane.require_rank(2);
    IF jsonb_typeof(spans) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'spans are an array of objects' USING ERRCODE = 'DL400';
    END IF;
    SELECT o.run_id, o.created INTO run_id, is_new FROM datalane.open_agent_trace(
        workspace, trace, EXISTS (SELECT FROM jsonb_array_elements(spans) AS s (span) WHERE s.span->>'kind' <> 'other'), scopes,
        patience, at) AS o;
    fresh := datalane.keep_agent_spans(workspace, trace, spans, at);
    kept := jsonb_array_length(fresh);
    IF run_id IS NOT NULL AND kept > 0 THEN
        PERFORM datalane.open_agent_thread(c.conversation, NULL, at) FROM (
            SELECT DISTINCT f.span->>'conversation' AS conversation FROM jsonb_array_elements(fresh) AS f (span)
            WHERE f.span->>'conversation' IS NOT NULL ORDER BY 1) AS c;
        PERFORM FROM datalane.agent_runs r WHERE r.workspace_id = workspace AND r.run_id = run_id FOR UPDATE;
        top := datalane.tell_agent_run_by_spans(workspace, run_id, trace, fresh, patience, at);
        IF is_new THEN
            PERFORM datalane.tell_of_agent_run(workspace, run_id, 'started', at);
        END IF;
        PERFORM datalane.write_span_steps(workspace, run_id, fresh, at);
        IF EXISTS (SELECT FROM jsonb_array_elements(fresh) AS f (span) WHERE f.span->>'kind' = 'tool') THEN
            PERFORM datalane.write_span_calls(workspace, run_id, fresh, at);
        END IF;
        IF top.parent_span_id IS NULL AND EXISTS (
                SELECT FROM datalane.agent_runs r WHERE r.workspace_id = workspace AND r.run_id = run_id AND r.status = 'running') THEN
            PERFORM datalane.end_agent_run_by_span(workspace, run_id, top, 'root_span', at);
        END IF;
    END IF;
    RETURN NEXT;
END $$;

-- Forget traces that told of no agent within `kept`.
CREATE FUNCTION datalane.forget_agent_traces(kept interval, most integer DEFAULT 10000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
DECLARE
    trace record; gone integer := 0;
BEGIN
    FOR trace IN
        SELECT t.workspace_id, t.trace_id FROM datalane.agent_traces t
        WHERE t.run_id IS NULL AND t.received_at < coalesce(now, clock_timestamp()) - kept
        ORDER BY t.received_at LIMIT most FOR UPDATE SKIP LOCKED
    LOOP
        DELETE FROM datalane.agent_spans s WHERE s.workspace_id = trace.workspace_id AND s.trace_id = trace.trace_id;
        DELETE FROM datalane.agent_traces t WHERE t.workspace_id = trace.workspace_id AND t.trace_id = trace.trace_id;
        gone := gone + 1;
    END LOOP;
    RETURN gone;
END $$;

-- Delete runs whose rows the caller holds, with their steps, calls, changes of status and traces, but for those that have a run inside
-- them, a call that waits for a person, or a trace that somebody takes just now: whoever takes one holds the trace before the run, so
-- it is not waited for. Answers how many, and the runs that they were inside of.
CREATE OR REPLACE FUNCTION datalane.delete_agent_runs(homes uuid[], runs uuid[], OUT deleted integer, OUT outer_homes uuid[], OUT outer_runs uuid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
DECLARE
    traced_homes uuid[]; traced uuid[];
BEGIN
    SELECT array_agg(l.workspace_id), array_agg(l.run_id) INTO traced_homes, traced FROM (
        SELECT t.workspace_id, t.run_id FROM datalane.agent_traces t
        JOIN unnest(homes, runs) AS o (workspace, run) ON t.workspace_id = o.workspace AND t.run_id = o.run
        FOR UPDATE OF t SKIP LOCKED) l;
    SELECT array_agg(o.workspace), array_agg(o.run) INTO homes, runs FROM unnest(homes, runs) AS o (workspace, run)
    WHERE ((o.workspace, o.run) IN (SELECT l.workspace, l.run FROM unnest(traced_homes, traced) AS l (workspace, run)) OR NOT EXISTS (
            SELECT FROM datalane.agent_traces t WHERE t.workspace_id = o.workspace AND t.run_id = o.run))
      AND NOT EXISTS (SELECT FROM datalane.agent_runs i WHERE i.workspace_id = o.workspace AND i.parent_run_id = o.run)
      AND NOT EXISTS (SELECT FROM datalane.tool_calls c
                      WHERE c.workspace_id = o.workspace AND c.run_id = o.run AND c.approval_until IS NOT NULL);
    DELETE FROM datalane.agent_steps s USING unnest(homes, runs) AS o (workspace, run)
    WHERE s.workspace_id = o.workspace AND s.run_id = o.run;
    DELETE FROM datalane.tool_calls c USING unnest(homes, runs) AS o (workspace, run)
    WHERE c.workspace_id = o.workspace AND c.run_id = o.run;
    DELETE FROM datalane.agent_transitions t USING unnest(homes, runs) AS o (workspace, run)
    WHERE t.workspace_id = o.workspace AND t.run_id = o.run;
    DELETE FROM datalane.agent_spans s USING datalane.agent_traces t, unnest(homes, runs) AS o (workspace, run)
    WHERE t.workspace_id = o.workspace AND t.run_id = o.run AND s.workspace_id = o.workspace AND s.trace_id = t.trace_id;
    DELETE FROM datalane.agent_traces t USING unnest(homes, runs) AS o (workspace, run)
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

GRANT EXECUTE ON FUNCTION datalane.take_agent_spans(text, jsonb, text[], interval, timestamptz) TO datalane_app;
GRANT EXECUTE ON FUNCTION datalane.forget_agent_traces(interval, integer, timestamptz) TO datalane_maintenance;
SET LOCAL ROLE datalane_owner;
