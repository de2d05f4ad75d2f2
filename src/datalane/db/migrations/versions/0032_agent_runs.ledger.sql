-- The verbs of the ledger. Whoever changes a run holds its row, names the token of its lease, and takes one edge of the lifecycle.
SET LOCAL ROLE datalane_definer;

CREATE FUNCTION datalane.agent_run_may_go(source text, target text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE source
        WHEN 'queued' THEN target IN ('running')
        WHEN 'running' THEN target IN ('waiting_tool', 'completed', 'failed', 'blocked_policy', 'escalated_human')
        WHEN 'waiting_tool' THEN target IN ('running', 'retrying', 'failed')
        WHEN 'retrying' THEN target IN ('running', 'failed', 'escalated_human')
        ELSE false END;

CREATE FUNCTION datalane.tool_call_may_go(source text, target text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE source
        WHEN 'requested' THEN target IN ('authorized', 'blocked_policy')
        WHEN 'authorized' THEN target IN ('executing', 'canceled')
        WHEN 'executing' THEN target IN ('succeeded', 'retrying', 'failed')
        WHEN 'retrying' THEN target IN ('executing', 'failed')
        ELSE false END;

-- Take the next place in the run. The caller holds its row.
CREATE FUNCTION datalane.next_agent_entry(workspace uuid, run uuid)
RETURNS integer LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    UPDATE datalane.agent_runs r SET entries = r.entries + 1 WHERE r.workspace_id = workspace AND r.run_id = run
    RETURNING r.entries
$$;

-- Move a run along one edge and leave a row of it. The caller holds its row. `deadline` is when the sweep is to look at it next.
CREATE FUNCTION datalane.move_agent_run(
    workspace uuid, run uuid, target text, deadline timestamptz, at timestamptz, class text DEFAULT NULL,
    message text DEFAULT NULL, reason text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    before text; is_over constant boolean := target IN ('completed', 'failed', 'blocked_policy', 'escalated_human');
BEGIN
    SELECT r.status INTO before FROM datalane.agent_runs r WHERE r.workspace_id = workspace AND r.run_id = run;
    IF NOT datalane.agent_run_may_go(before, target) THEN
        RAISE EXCEPTION 'an agent run cannot go from % to %', before, target USING ERRCODE = 'DL411';
    END IF;
    UPDATE datalane.agent_runs r
    SET status = target, entries = r.entries + 1, deadline_at = CASE WHEN is_over THEN NULL ELSE deadline END,
        completed_at = CASE WHEN is_over THEN at END, error_class = class, error_message = left(message, 2000)
    WHERE r.workspace_id = workspace AND r.run_id = run;
    INSERT INTO datalane.agent_transitions (workspace_id, run_id, ordinal, from_status, to_status, attempt, lease_token, runtime,
                                            error_class, error_message, reason, at)
    SELECT workspace, run, r.entries, before, target, r.attempt_count, r.lease_token, r.runtime, class, left(message, 2000),
           reason, at
    FROM datalane.agent_runs r WHERE r.workspace_id = workspace AND r.run_id = run;
    IF is_over OR target = 'retrying' THEN
        PERFORM datalane.tell_of_agent_run(workspace, run, CASE target
            WHEN 'completed' THEN 'completed' WHEN 'escalated_human' THEN 'escalated' WHEN 'retrying' THEN 'retrying'
            ELSE 'failed' END, at);
    END IF;
END $$;

-- Publish `agent.run.queued`, `started`, `retrying`, `completed`, `escalated`, or `failed`, which stands for every other end. Past the limit
-- of causation there is no event, so that nothing runs in a circle.
CREATE FUNCTION datalane.tell_of_agent_run(workspace uuid, run uuid, what text, at timestamptz)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    SELECT datalane.publish_for(
        workspace, r.actor_id, r.correlation_id, 'agent.run.' || what,
        jsonb_build_object('run_id', run, 'agent', r.agent, 'status', r.status, 'thread_id', r.thread_id,
                           'error_class', r.error_class),
        run::text, r.causation_id, r.causation_depth, at)
    FROM datalane.agent_runs r
    WHERE r.workspace_id = workspace AND r.run_id = run AND r.causation_depth <= datalane.causation_limit()
$$;

-- Move a call along one edge and leave a row of it. The caller holds the row of its run. A call that ends lets the run go on.
CREATE FUNCTION datalane.move_tool_call(
    workspace uuid, run uuid, call uuid, target text, at timestamptz, class text DEFAULT NULL, message text DEFAULT NULL,
    reason text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    before text; tries integer; is_over constant boolean := target IN ('succeeded', 'failed', 'canceled', 'blocked_policy');
BEGIN
    SELECT c.status INTO before FROM datalane.tool_calls c
    WHERE c.workspace_id = workspace AND c.tool_call_id = call AND c.run_id = run;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such tool call' USING ERRCODE = 'DL404';
    END IF;
    IF NOT datalane.tool_call_may_go(before, target) THEN
        RAISE EXCEPTION 'a tool call cannot go from % to %', before, target USING ERRCODE = 'DL411';
    END IF;
    UPDATE datalane.tool_calls c
    SET status = target, attempt_count = c.attempt_count + CASE target WHEN 'executing' THEN 1 ELSE 0 END,
        started_at = CASE WHEN target = 'executing' THEN coalesce(c.started_at, at) ELSE c.started_at END,
        decided_at = CASE WHEN before = 'requested' THEN at ELSE c.decided_at END,
        approval_until = CASE WHEN before = 'requested' THEN NULL ELSE c.approval_until END,
        ended_at = CASE WHEN is_over THEN at END, error_class = class, error_message = left(message, 2000)
    WHERE c.workspace_id = workspace AND c.tool_call_id = call
    RETURNING c.attempt_count INTO tries;
    UPDATE datalane.agent_runs r
    SET entries = r.entries + 1,
        open_calls = r.open_calls + CASE WHEN target = 'authorized' THEN 1 WHEN is_over AND before <> 'requested' THEN -1 ELSE 0 END
    WHERE r.workspace_id = workspace AND r.run_id = run;
    INSERT INTO datalane.agent_transitions (workspace_id, run_id, ordinal, tool_call_id, from_status, to_status, attempt,
                                            lease_token, runtime, error_class, error_message, reason, at)
    SELECT workspace, run, r.entries, call, before, target, tries, r.lease_token, r.runtime, class, left(message, 2000), reason, at
    FROM datalane.agent_runs r WHERE r.workspace_id = workspace AND r.run_id = run;
END $$;

-- The row of a run that the caller may write, locked. Raises lease_lost when the token is not its lease's any more.
CREATE FUNCTION datalane.hold_agent_run(run uuid, token bigint)
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

-- A thread by its id at the other side, made when it is new.
CREATE FUNCTION datalane.open_agent_thread(external text, title text DEFAULT NULL, now timestamptz DEFAULT NULL)
RETURNS TABLE (thread_id uuid, created boolean) LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    PERFORM datalane.require_rank(2);
    INSERT INTO datalane.agent_threads AS t (workspace_id, thread_id, title, external_id, created_at, created_by_actor_id)
    VALUES (app.workspace_id(), app.uuid7(), open_agent_thread.title, external, coalesce(now, clock_timestamp()), app.actor_id())
    ON CONFLICT (workspace_id, external_id) DO NOTHING RETURNING t.thread_id INTO thread_id;
    created := FOUND;
    IF NOT created THEN
        SELECT t.thread_id INTO thread_id FROM datalane.agent_threads t
        WHERE t.workspace_id = app.workspace_id() AND t.external_id = external;
    END IF;
    RETURN NEXT;
END $$;

-- That versions which are named are the workspace's. NULL names none.
CREATE FUNCTION datalane.check_agent_versions(workspace uuid, said_prompt uuid, said_model uuid, said_schema uuid DEFAULT NULL)
RETURNS void LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF said_prompt IS NOT NULL AND NOT EXISTS (
            SELECT FROM datalane.agent_prompts p WHERE p.workspace_id = workspace AND p.prompt_version_id = said_prompt) THEN
        RAISE EXCEPTION 'no such version of a prompt' USING ERRCODE = 'DL404';
    END IF;
    IF said_model IS NOT NULL AND NOT EXISTS (
            SELECT FROM datalane.agent_models m WHERE m.workspace_id = workspace AND m.model_version_id = said_model) THEN
        RAISE EXCEPTION 'no such version of a model' USING ERRCODE = 'DL404';
    END IF;
    IF said_schema IS NOT NULL AND NOT EXISTS (
            SELECT FROM datalane.agent_output_schemas s
            WHERE s.workspace_id = workspace AND s.output_schema_version_id = said_schema) THEN
        RAISE EXCEPTION 'no such version of an output schema' USING ERRCODE = 'DL404';
    END IF;
END $$;

-- Begin a run: held by `runtime` for `patience`, or without a runtime queued, for somebody to take it up within `patience`. One that
-- is known by its source id is answered as it is, with no token. It may do what who asks for it may, and with a parent no more than that.
CREATE FUNCTION datalane.begin_agent_run(
    agent text, runtime text, patience interval, max_attempts integer DEFAULT 1, thread_id uuid DEFAULT NULL,
    parent_run_id uuid DEFAULT NULL, source_run_id text DEFAULT NULL, prompt_version_id uuid DEFAULT NULL,
    model_version_id uuid DEFAULT NULL, output_schema_version_id uuid DEFAULT NULL, input jsonb DEFAULT NULL,
    scopes text[] DEFAULT NULL, actor_id uuid DEFAULT NULL, correlation_id text DEFAULT NULL, causation_id uuid DEFAULT NULL,
    causation_depth integer DEFAULT 0, now timestamptz DEFAULT NULL)
RETURNS TABLE (run_id uuid, lease_token bigint, created boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at constant timestamptz := coalesce(now, clock_timestamp());
    parent datalane.agent_runs;
BEGIN
    PERFORM datalane.require_rank(2);
    IF thread_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM datalane.agent_threads t WHERE t.workspace_id = workspace AND t.thread_id = thread_id) THEN
        RAISE EXCEPTION 'no such thread' USING ERRCODE = 'DL404';
    END IF;
    IF parent_run_id IS NOT NULL THEN
        SELECT r.* INTO parent FROM datalane.agent_runs r WHERE r.workspace_id = workspace AND r.run_id = parent_run_id
        FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no such agent run' USING ERRCODE = 'DL404';
        END IF;
    END IF;
    PERFORM datalane.check_agent_versions(workspace, prompt_version_id, model_version_id, output_schema_version_id);
    INSERT INTO datalane.agent_runs (
        workspace_id, run_id, thread_id, parent_run_id, agent, source, source_run_id, status, attempt_count, max_attempts,
        actor_id, actor_rank, scopes, correlation_id, causation_id, causation_depth, prompt_version_id, model_version_id,
        output_schema_version_id, input, lease_token, runtime, deadline_at, entries, created_at, started_at)
    VALUES (workspace, app.uuid7(), thread_id, parent_run_id, agent, 'runtime', source_run_id,
            CASE WHEN runtime IS NULL THEN 'queued' ELSE 'running' END, CASE WHEN runtime IS NULL THEN 0 ELSE 1 END, max_attempts,
            coalesce(actor_id, app.actor_id()), least(app.actor_rank(), parent.actor_rank), CASE
                WHEN parent.scopes IS NULL THEN scopes WHEN scopes IS NULL THEN parent.scopes
                ELSE ARRAY(SELECT unnest(scopes) INTERSECT SELECT unnest(parent.scopes)) END,
            coalesce(correlation_id, app.correlation_id()),
            causation_id, causation_depth,
            prompt_version_id, model_version_id, output_schema_version_id, input,
            CASE WHEN runtime IS NULL THEN 0 ELSE 1 END, runtime, at + patience, CASE WHEN runtime IS NULL THEN 1 ELSE 2 END, at,
            CASE WHEN runtime IS NULL THEN NULL ELSE at END)
    ON CONFLICT ON CONSTRAINT one_run_per_source_id DO NOTHING
    RETURNING agent_runs.run_id, agent_runs.lease_token INTO run_id, lease_token;
    created := FOUND;
    IF NOT created THEN
        SELECT r.run_id INTO run_id FROM datalane.agent_runs r
        WHERE r.workspace_id = workspace AND r.source = 'runtime' AND r.source_run_id = source_run_id;
        lease_token := NULL;
        RETURN NEXT;
        RETURN;
    END IF;
    INSERT INTO datalane.agent_transitions (workspace_id, run_id, ordinal, from_status, to_status, attempt, lease_token, runtime, at)
    SELECT workspace, run_id, e.ordinal, e.source, e.target, e.attempt, e.attempt, e.runtime, at
    FROM (VALUES (1, NULL, 'queued', 0, NULL), (2, 'queued', 'running', 1, runtime)) AS e (ordinal, source, target, attempt, runtime)
    WHERE e.ordinal = 1 OR runtime IS NOT NULL;
    PERFORM datalane.tell_of_agent_run(workspace, run_id, CASE WHEN runtime IS NULL THEN 'queued' ELSE 'started' END, at);
    RETURN NEXT;
END $$;

-- What was open is over: the runtime that would have gone on with it is gone, or has ended its run.
CREATE FUNCTION datalane.close_tool_calls(workspace uuid, run uuid, class text, message text, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    call record;
BEGIN
    FOR call IN
        SELECT c.tool_call_id, c.status FROM datalane.tool_calls c
        WHERE c.workspace_id = workspace AND c.run_id = run AND c.status IN ('authorized', 'executing', 'retrying')
        ORDER BY c.ordinal
    LOOP
        IF call.status = 'authorized' THEN
            PERFORM datalane.move_tool_call(workspace, run, call.tool_call_id, 'canceled', at);
        ELSE
            PERFORM datalane.move_tool_call(workspace, run, call.tool_call_id, 'failed', at, class, message);
        END IF;
        PERFORM datalane.tell_of_tool_call(workspace, call.tool_call_id, at);
    END LOOP;
END $$;

-- Take a run up: one that is queued or retrying, or one whose lease has run out before the sweep came. What the runtime before had
-- open is over. Answers the token of the new lease, NULL when the run was lost once too often and has failed.
CREATE FUNCTION datalane.take_agent_run(run uuid, runtime text, lease interval, now timestamptz DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at constant timestamptz := coalesce(now, clock_timestamp());
    taken datalane.agent_runs;
BEGIN
    PERFORM datalane.require_rank(2);
    SELECT r.* INTO taken FROM datalane.agent_runs r WHERE r.workspace_id = workspace AND r.run_id = run FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such agent run' USING ERRCODE = 'DL404';
    END IF;
    IF taken.completed_at IS NOT NULL THEN
        RAISE EXCEPTION 'an agent run cannot go from % to running', taken.status USING ERRCODE = 'DL411';
    END IF;
    IF runtime IS NULL OR coalesce(lease, interval '0') <= interval '0' THEN
        RAISE EXCEPTION 'taking up a run takes the name of a runtime and a lease' USING ERRCODE = 'DL400';
    END IF;
    IF taken.status IN ('running', 'waiting_tool') THEN
        IF taken.deadline_at >= at THEN
            RAISE EXCEPTION 'the agent run is held by another runtime; its lease lasts until %', taken.deadline_at
                USING ERRCODE = 'DL409';
        END IF;
        IF NOT datalane.lose_agent_run(workspace, run, at, at) THEN
            RETURN NULL;
        END IF;
    END IF;
    UPDATE datalane.agent_runs r
    SET lease_token = r.lease_token + 1, runtime = runtime, attempt_count = r.attempt_count + 1,
        started_at = coalesce(r.started_at, at)
    WHERE r.workspace_id = workspace AND r.run_id = run;
    PERFORM datalane.move_agent_run(workspace, run, 'running', at + lease, at);
    IF taken.status = 'queued' THEN
        PERFORM datalane.tell_of_agent_run(workspace, run, 'started', at);
    END IF;
    RETURN taken.lease_token + 1;
END $$;

-- A held run whose lease has run out: `retrying` while attempts are left, else failed. The caller holds its row. Answers whether it is
-- to be tried again.
CREATE FUNCTION datalane.lose_agent_run(workspace uuid, run uuid, deadline timestamptz, at timestamptz)
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

-- Heartbeat: hold the leases for another `lease`. Answers the ids still held; the others were lost or are over.
CREATE FUNCTION datalane.extend_agent_runs(runs uuid[], tokens bigint[], lease interval, now timestamptz DEFAULT NULL)
RETURNS uuid[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    held uuid[];
BEGIN
    PERFORM datalane.require_rank(2);
    WITH locked AS (
        SELECT r.run_id FROM datalane.agent_runs r JOIN unnest(runs, tokens) AS t (id, token)
            ON r.run_id = t.id AND r.lease_token = t.token
        WHERE r.workspace_id = app.workspace_id() AND r.status IN ('running', 'waiting_tool')
        ORDER BY r.run_id FOR UPDATE OF r
    ), extended AS (
        UPDATE datalane.agent_runs r SET deadline_at = coalesce(now, clock_timestamp()) + lease
        FROM locked WHERE r.workspace_id = app.workspace_id() AND r.run_id = locked.run_id RETURNING r.run_id
    )
    SELECT coalesce(array_agg(extended.run_id), '{}') INTO held FROM extended;
    RETURN held;
END $$;

-- The sweep: runs whose lease has run out, those that nobody took up in time, and approvals that nobody gave in time.
CREATE FUNCTION datalane.sweep_agent_runs(
    most integer DEFAULT 500, patience interval DEFAULT '1 hour', now timestamptz DEFAULT NULL)
RETURNS TABLE (retrying integer, failed integer, expired integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    at constant timestamptz := coalesce(now, clock_timestamp()); run datalane.agent_runs; call datalane.tool_calls;
BEGIN
    retrying := 0; failed := 0; expired := 0;
    FOR run IN
        SELECT r.* FROM datalane.agent_runs r WHERE r.deadline_at < at
        ORDER BY r.deadline_at LIMIT most FOR UPDATE SKIP LOCKED
    LOOP
        IF run.status IN ('running', 'waiting_tool') THEN
            IF datalane.lose_agent_run(run.workspace_id, run.run_id, at + patience, at) THEN
                retrying := retrying + 1;
            ELSE
                failed := failed + 1;
            END IF;
        ELSE
            IF run.status = 'queued' THEN
                UPDATE datalane.agent_runs r SET runtime = 'nobody'
                WHERE r.workspace_id = run.workspace_id AND r.run_id = run.run_id;
                PERFORM datalane.move_agent_run(run.workspace_id, run.run_id, 'running', at, at, NULL, NULL, 'not_taken_up');
            END IF;
            PERFORM datalane.move_agent_run(run.workspace_id, run.run_id, 'failed', NULL, at, 'timeout',
                                            'no runtime took the run up in time', 'not_taken_up');
            failed := failed + 1;
        END IF;
    END LOOP;
    FOR call IN
        SELECT c.* FROM datalane.tool_calls c
        JOIN datalane.agent_runs r ON r.workspace_id = c.workspace_id AND r.run_id = c.run_id
        WHERE c.approval_until < at ORDER BY c.approval_until LIMIT most FOR UPDATE OF r SKIP LOCKED
    LOOP
        PERFORM datalane.move_tool_call(call.workspace_id, call.run_id, call.tool_call_id, 'blocked_policy', at, 'policy_denied',
                                        'nobody approved the call in time', 'approval_expired');
        PERFORM datalane.tell_of_tool_call(call.workspace_id, call.tool_call_id, at);
        expired := expired + 1;
    END LOOP;
    RETURN NEXT;
END $$;

-- Record steps that are over. `steps` is an array of objects with the columns of a step; `seconds` is how long it took, so that it
-- stands in the database's time whatever the clock of the runtime says. Costs are those of the price that held when the run
-- began. Answers places and costs.
CREATE FUNCTION datalane.record_agent_steps(run uuid, token bigint, steps jsonb, now timestamptz DEFAULT NULL)
RETURNS TABLE (ordinal integer, cost numeric) LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    held datalane.agent_runs;
BEGIN
    PERFORM datalane.require_rank(2);
    held := datalane.hold_agent_run(run, token);
    RETURN QUERY SELECT w.ordinal, w.cost
        FROM datalane.write_agent_steps(held.workspace_id, run, held.started_at, steps, coalesce(now, clock_timestamp())) AS w;
END $$;

-- Count what was used. Who counts takes a row that nobody holds, or a new one.
CREATE FUNCTION datalane.count_agent_usage(workspace uuid, meter text, unit text, amount numeric, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    today constant date := (at AT TIME ZONE 'UTC')::date;
BEGIN
    UPDATE datalane.agent_usage u SET used = u.used + amount
    WHERE u.workspace_id = workspace AND u.meter = meter AND u.unit = unit AND u.day = today AND u.slot = (
        SELECT f.slot FROM datalane.agent_usage f
        WHERE f.workspace_id = workspace AND f.meter = meter AND f.unit = unit AND f.day = today
        ORDER BY f.slot LIMIT 1 FOR UPDATE SKIP LOCKED);
    IF NOT FOUND THEN
        INSERT INTO datalane.agent_usage (workspace_id, meter, unit, day, slot, used)
        VALUES (workspace, meter, unit, today, app.uuid7(), amount);
    END IF;
END $$;

-- What recording steps does once the run is held; what they used is counted. One whose source id the run has already is left. A cost is by
-- the price that held at `priced_at`, or where that is null when the step began. The sum of costs is in one currency, that of the first
-- price; a step of another is not in it, and counts as one whose price is not known.
CREATE FUNCTION datalane.write_agent_steps(workspace uuid, run uuid, priced_at timestamptz, steps jsonb, at timestamptz)
RETURNS TABLE (ordinal integer, cost numeric) LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    told jsonb := steps; before integer; money text; sums record; spent record;
BEGIN
    PERFORM datalane.check_agent_versions(workspace, v.prompt, v.model) FROM (
        SELECT DISTINCT (s->>'prompt_version_id')::uuid, (s->>'model_version_id')::uuid FROM jsonb_array_elements(told) AS s
    ) AS v (prompt, model);
    SELECT r.entries, r.currency INTO before, money FROM datalane.agent_runs r WHERE r.workspace_id = workspace AND r.run_id = run;
    WITH stored AS (
        INSERT INTO datalane.agent_steps (
            workspace_id, run_id, ordinal, kind, name, attempt, prompt_version_id, model_version_id, input_tokens,
            cached_input_tokens, output_tokens, reasoning_tokens, price_version_id, cost, input, output, error_class,
            error_message, source_id, started_at, ended_at, recorded_at)
        SELECT workspace, run, before + x.place, x.kind, x.name, coalesce(x.attempt, 1), x.prompt_version_id, x.model_version_id,
               x.input_tokens, x.cached_input_tokens, x.output_tokens, x.reasoning_tokens, p.price_version_id,
               datalane.agent_cost(x.input_tokens, x.cached_input_tokens, x.output_tokens, x.reasoning_tokens, p.input_per_million,
                                   p.cached_input_per_million, p.output_per_million, p.reasoning_per_million),
               x.input, x.output, x.error_class, left(x.error_message, 2000), x.source_id, t.started_at, t.ended_at, at
        FROM ROWS FROM (jsonb_to_recordset(told) AS (
            kind text, name text, attempt integer, prompt_version_id uuid, model_version_id uuid, input_tokens bigint,
            cached_input_tokens bigint, output_tokens bigint, reasoning_tokens bigint, input jsonb, output jsonb,
            error_class text, error_message text, source_id text, seconds double precision, started_at timestamptz,
            ended_at timestamptz)) WITH ORDINALITY AS x (
                kind, name, attempt, prompt_version_id, model_version_id, input_tokens, cached_input_tokens, output_tokens,
                reasoning_tokens, input, output, error_class, error_message, source_id, seconds, started_at, ended_at, place)
        CROSS JOIN LATERAL (VALUES (
            coalesce(x.started_at, coalesce(x.ended_at, at) - make_interval(secs => coalesce(x.seconds, 0))),
            coalesce(x.ended_at, at))) AS t (started_at, ended_at)
        LEFT JOIN LATERAL (
            SELECT p.* FROM datalane.agent_prices p
            WHERE p.workspace_id = workspace AND p.model_version_id = x.model_version_id
              AND p.effective_at <= coalesce(priced_at, least(t.started_at, at))
            ORDER BY p.effective_at DESC LIMIT 1) p ON true
        ORDER BY x.place
        ON CONFLICT ON CONSTRAINT one_step_per_source_id DO NOTHING
        RETURNING ordinal, kind, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, price_version_id, cost
    ), priced AS (
        SELECT stored.*, p.currency FROM stored LEFT JOIN datalane.agent_prices p
            ON p.workspace_id = workspace AND p.price_version_id = stored.price_version_id
    )
    SELECT array_agg(s.ordinal ORDER BY s.ordinal) AS ordinals, array_agg(s.cost ORDER BY s.ordinal) AS costs,
           array_agg(s.currency ORDER BY s.ordinal) AS currencies, max(s.ordinal) AS entries, min(m.currency) AS currency,
           count(*) FILTER (WHERE s.kind = 'model') AS model_steps, sum(s.input_tokens) AS input_tokens,
           sum(s.cached_input_tokens) AS cached_input_tokens, sum(s.output_tokens) AS output_tokens,
           sum(s.reasoning_tokens) AS reasoning_tokens,
           count(*) FILTER (WHERE s.kind = 'model' AND (s.input_tokens IS NULL OR s.output_tokens IS NULL)) AS unmeasured_steps,
           sum(s.cost) FILTER (WHERE s.currency = coalesce(money, m.currency)) AS cost,
           count(*) FILTER (WHERE s.kind = 'model' AND (s.cost IS NULL OR s.currency <> coalesce(money, m.currency))) AS unpriced_steps
    INTO sums FROM priced s LEFT JOIN (
        SELECT priced.currency FROM priced WHERE priced.currency IS NOT NULL ORDER BY priced.ordinal LIMIT 1) AS m ON true;
    UPDATE datalane.agent_runs r
    SET entries = coalesce(sums.entries, r.entries), currency = coalesce(r.currency, sums.currency),
        model_steps = r.model_steps + sums.model_steps,
        input_tokens = coalesce(r.input_tokens + sums.input_tokens, sums.input_tokens, r.input_tokens),
        cached_input_tokens = coalesce(r.cached_input_tokens + sums.cached_input_tokens, sums.cached_input_tokens, r.cached_input_tokens),
        output_tokens = coalesce(r.output_tokens + sums.output_tokens, sums.output_tokens, r.output_tokens),
        reasoning_tokens = coalesce(r.reasoning_tokens + sums.reasoning_tokens, sums.reasoning_tokens, r.reasoning_tokens),
        unmeasured_steps = r.unmeasured_steps + sums.unmeasured_steps, unpriced_steps = r.unpriced_steps + sums.unpriced_steps,
        cost = coalesce(r.cost + sums.cost, sums.cost, r.cost)
    WHERE r.workspace_id = workspace AND r.run_id = run;
    IF coalesce(sums.input_tokens, 0) + coalesce(sums.output_tokens, 0) > 0 THEN
        PERFORM datalane.count_agent_usage(workspace, 'agent.tokens', 'tokens',
                                           coalesce(sums.input_tokens, 0) + coalesce(sums.output_tokens, 0), at);
    END IF;
    FOR spent IN
        SELECT c.currency, sum(c.cost) AS cost FROM unnest(sums.currencies, sums.costs) AS c (currency, cost)
        GROUP BY c.currency HAVING sum(c.cost) > 0 ORDER BY c.currency
    LOOP
        PERFORM datalane.count_agent_usage(workspace, 'agent.cost', spent.currency, spent.cost, at);
    END LOOP;
    RETURN QUERY SELECT s.ordinal, s.cost FROM unnest(sums.ordinals, sums.costs) AS s (ordinal, cost);
END $$;

-- Publish `agent.tool.called` of a call that is over.
CREATE FUNCTION datalane.tell_of_tool_call(workspace uuid, call uuid, at timestamptz)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    SELECT datalane.publish_for(
        workspace, r.actor_id, r.correlation_id, 'agent.tool.called',
        jsonb_build_object('run_id', r.run_id, 'tool_call_id', call, 'tool', c.tool_name, 'tool_version', c.tool_version,
                           'status', c.status, 'attempt_count', c.attempt_count, 'error_class', c.error_class),
        r.run_id::text, r.causation_id, r.causation_depth, at)
    FROM datalane.tool_calls c JOIN datalane.agent_runs r ON r.workspace_id = c.workspace_id AND r.run_id = c.run_id
    WHERE c.workspace_id = workspace AND c.tool_call_id = call AND r.causation_depth <= datalane.causation_limit()
$$;

-- After a call was moved: the run waits for what is open, and goes on when nothing is.
CREATE FUNCTION datalane.settle_agent_run(workspace uuid, run uuid, at timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    settled datalane.agent_runs;
BEGIN
    SELECT r.* INTO settled FROM datalane.agent_runs r WHERE r.workspace_id = workspace AND r.run_id = run;
    IF settled.status = 'running' AND settled.open_calls > 0 THEN
        PERFORM datalane.move_agent_run(workspace, run, 'waiting_tool', settled.deadline_at, at);
    ELSIF settled.status = 'waiting_tool' AND settled.open_calls = 0 THEN
        PERFORM datalane.move_agent_run(workspace, run, 'running', settled.deadline_at, at);
    END IF;
END $$;

-- Ask for a call of a tool, with what was decided about it: `authorized`, `blocked_policy` or `escalated`. What the version of the tool says
-- of roles is asked here once more, for who calls and for who asked for the run. A call that is allowed begins at once when `execute`
-- says so. One whose idempotency key has an effect already answers what that did, and does nothing. `approval_id` is the call that a
-- person approved, in the run that this one goes on from; it is used once.
CREATE FUNCTION datalane.request_tool_call(
    run uuid, token bigint, tool text, tool_version integer, arguments jsonb, arguments_digest bytea, idempotency_key text,
    outcome text, rule_id text, rule_version integer, reason text DEFAULT NULL, class text DEFAULT NULL,
    execute boolean DEFAULT true, approval_id uuid DEFAULT NULL, patience interval DEFAULT '24 hours',
    now timestamptz DEFAULT NULL)
RETURNS TABLE (tool_call_id uuid, status text, attempt_count integer, is_replay boolean, result jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    held datalane.agent_runs;
    workspace constant uuid := app.workspace_id(); at constant timestamptz := coalesce(now, clock_timestamp());
    terms datalane.agent_tool_versions; is_serial boolean; done datalane.agent_effects;
BEGIN
    PERFORM datalane.require_rank(2);
    held := datalane.hold_agent_run(run, token);
    IF outcome NOT IN ('authorized', 'blocked_policy', 'escalated') THEN
        RAISE EXCEPTION 'a call is authorized, blocked_policy or escalated, not %', outcome USING ERRCODE = 'DL400';
    END IF;
    SELECT v.* INTO terms FROM datalane.agent_tool_versions v
    WHERE v.workspace_id = workspace AND v.tool_name = tool AND v.version = tool_version;
    IF NOT FOUND AND (outcome <> 'blocked_policy' OR tool_version IS NOT NULL) THEN
        RAISE EXCEPTION 'no such version of a tool' USING ERRCODE = 'DL404';
    END IF;
    IF outcome = 'authorized' THEN
        PERFORM datalane.check_tool_role(workspace, tool, terms.required_role, held.actor_rank);
        IF terms.side_effect = 'external' AND idempotency_key IS NULL THEN
            RAISE EXCEPTION 'a tool with an external side effect takes an idempotency key' USING ERRCODE = 'DL400';
        END IF;
    END IF;
    is_serial := coalesce(terms.execution = 'serial', true);
    IF held.open_calls > 0 AND (outcome = 'escalated' OR outcome = 'authorized' AND (is_serial OR EXISTS (
            SELECT FROM datalane.tool_calls c WHERE c.workspace_id = workspace AND c.run_id = run AND c.serial
                AND c.status IN ('authorized', 'executing', 'retrying')))) THEN
        RAISE EXCEPTION 'another call of the run is open; what is serial, or takes an approval, is asked for alone'
            USING ERRCODE = 'DL409';
    END IF;
    PERFORM datalane.use_tool_approval(workspace, held.parent_run_id, approval_id, tool, tool_version, arguments_digest);
    tool_call_id := app.uuid7();
    INSERT INTO datalane.tool_calls (
        workspace_id, tool_call_id, run_id, ordinal, tool_name, tool_version, side_effect, serial, status, attempt_count, max_attempts,
        arguments, arguments_digest, idempotency_key, rule_id, rule_version, reason, needs_approval, approval_until,
        approval_id, requested_at)
    VALUES (workspace, tool_call_id, run, datalane.next_agent_entry(workspace, run), tool, tool_version, terms.side_effect, is_serial,
            'requested', 0, coalesce(terms.max_attempts, 1), arguments, arguments_digest, idempotency_key, rule_id, rule_version,
            left(reason, 500), outcome = 'escalated', at + patience, approval_id, at);
    is_replay := false;
    IF outcome = 'escalated' THEN
        PERFORM datalane.move_agent_run(workspace, run, 'escalated_human', NULL, at, NULL, NULL, rule_id);
    ELSIF outcome = 'blocked_policy' THEN
        PERFORM datalane.move_tool_call(workspace, run, tool_call_id, 'blocked_policy', at, coalesce(class, 'policy_denied'),
                                        reason, rule_id);
        PERFORM datalane.tell_of_tool_call(workspace, tool_call_id, at);
    ELSE
        PERFORM datalane.move_tool_call(workspace, run, tool_call_id, 'authorized', at, NULL, NULL, rule_id);
        SELECT e.* INTO done FROM datalane.agent_effects e
        WHERE e.workspace_id = workspace AND e.tool_name = tool AND e.idempotency_key = idempotency_key;
        is_replay := FOUND;
        IF is_replay AND done.arguments_digest <> arguments_digest THEN
            RAISE EXCEPTION 'the idempotency key was used with other arguments' USING ERRCODE = 'DL409';
        END IF;
        IF execute OR is_replay THEN
            PERFORM datalane.move_tool_call(workspace, run, tool_call_id, 'executing', at);
        END IF;
        IF is_replay THEN
            UPDATE datalane.tool_calls c SET result = done.result, is_replay = true
            WHERE c.workspace_id = workspace AND c.tool_call_id = tool_call_id;
            PERFORM datalane.move_tool_call(workspace, run, tool_call_id, 'succeeded', at);
            PERFORM datalane.tell_of_tool_call(workspace, tool_call_id, at);
        END IF;
        PERFORM datalane.settle_agent_run(workspace, run, at);
    END IF;
    SELECT c.status, c.attempt_count, c.result INTO status, attempt_count, result FROM datalane.tool_calls c
    WHERE c.workspace_id = workspace AND c.tool_call_id = tool_call_id;
    RETURN NEXT;
END $$;

-- The role that a tool takes is that of who calls and of who asked for the run, and the tool is enabled.
CREATE FUNCTION datalane.check_tool_role(workspace uuid, tool text, required text, asker integer)
RETURNS void LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF least(app.actor_rank(), asker) < array_position(ARRAY['viewer', 'member', 'admin', 'owner'], required) THEN
        RAISE EXCEPTION 'the role may not call the tool; it takes % or above', required USING ERRCODE = 'DL403';
    END IF;
    PERFORM FROM datalane.agent_tools t WHERE t.workspace_id = workspace AND t.tool_name = tool AND t.enabled;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the tool is disabled' USING ERRCODE = 'DL403';
    END IF;
END $$;

-- An approval is of one tool, version and arguments, for the run that goes on from the one in which it was asked for, and is used once.
CREATE FUNCTION datalane.use_tool_approval(
    workspace uuid, parent uuid, approval uuid, tool text, version integer, digest bytea)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF approval IS NULL THEN
        RETURN;
    END IF;
    PERFORM FROM datalane.tool_calls c WHERE c.workspace_id = workspace AND c.tool_call_id = approval AND c.run_id = parent
        AND c.is_approved AND c.tool_name = tool AND c.tool_version = version AND c.arguments_digest = digest FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such approval of this tool with these arguments' USING ERRCODE = 'DL404';
    END IF;
    IF EXISTS (SELECT FROM datalane.tool_calls c WHERE c.workspace_id = workspace AND c.approval_id = approval) THEN
        RAISE EXCEPTION 'the approval has been used' USING ERRCODE = 'DL409';
    END IF;
END $$;

-- Which version of which tool a call is of, and what its result is to be like.
CREATE FUNCTION datalane.called_tool(run uuid, token bigint, call uuid)
RETURNS TABLE (tool_name text, tool_version integer, output_schema jsonb, content_sha256 bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
BEGIN
    PERFORM datalane.require_rank(2);
    PERFORM datalane.hold_agent_run(run, token);
    RETURN QUERY SELECT c.tool_name, c.tool_version, v.output_schema, v.content_sha256 FROM datalane.tool_calls c
        LEFT JOIN datalane.agent_tool_versions v
            ON v.workspace_id = c.workspace_id AND v.tool_name = c.tool_name AND v.version = c.tool_version
        WHERE c.workspace_id = app.workspace_id() AND c.run_id = run AND c.tool_call_id = call;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such tool call' USING ERRCODE = 'DL404';
    END IF;
END $$;

-- What the output of a run is to be like; null where nothing says so.
CREATE FUNCTION datalane.agent_output_schema(run uuid, token bigint)
RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    held datalane.agent_runs;
BEGIN
    PERFORM datalane.require_rank(2);
    held := datalane.hold_agent_run(run, token);
    RETURN (SELECT s.schema FROM datalane.agent_output_schemas s
            WHERE s.workspace_id = held.workspace_id AND s.output_schema_version_id = held.output_schema_version_id);
END $$;

-- Begin a call that was authorized, or one that is to be tried again. Answers which attempt it is.
CREATE FUNCTION datalane.start_tool_call(run uuid, token bigint, call uuid, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    held datalane.agent_runs;
BEGIN
    PERFORM datalane.require_rank(2);
    held := datalane.hold_agent_run(run, token);
    PERFORM datalane.move_tool_call(held.workspace_id, run, call, 'executing', coalesce(now, clock_timestamp()));
    RETURN (SELECT c.attempt_count FROM datalane.tool_calls c WHERE c.workspace_id = held.workspace_id AND c.tool_call_id = call);
END $$;

-- A call is done. Its effect is recorded once for its idempotency key; when another call was first, this one's transaction is to roll
-- back.
CREATE FUNCTION datalane.succeed_tool_call(run uuid, token bigint, call uuid, result jsonb, now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    held datalane.agent_runs;
    at constant timestamptz := coalesce(now, clock_timestamp()); done datalane.tool_calls;
BEGIN
    PERFORM datalane.require_rank(2);
    held := datalane.hold_agent_run(run, token);
    PERFORM datalane.move_tool_call(held.workspace_id, run, call, 'succeeded', at);
    UPDATE datalane.tool_calls c SET result = result WHERE c.workspace_id = held.workspace_id AND c.tool_call_id = call
    RETURNING c.* INTO done;
    IF done.idempotency_key IS NOT NULL AND done.side_effect IN ('write', 'external') THEN
        INSERT INTO datalane.agent_effects (workspace_id, tool_name, idempotency_key, arguments_digest, tool_call_id, result,
                                            recorded_at)
        VALUES (held.workspace_id, done.tool_name, done.idempotency_key, done.arguments_digest, call, result, at)
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'another call with this idempotency key was first' USING ERRCODE = 'DL409';
        END IF;
    END IF;
    PERFORM datalane.tell_of_tool_call(held.workspace_id, call, at);
    PERFORM datalane.settle_agent_run(held.workspace_id, run, at);
END $$;

-- A call failed. It is to be tried again when that may help and attempts are left. Answers its status.
CREATE FUNCTION datalane.fail_tool_call(
    run uuid, token bigint, call uuid, class text, message text, retryable boolean DEFAULT false, now timestamptz DEFAULT NULL)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    held datalane.agent_runs;
    at constant timestamptz := coalesce(now, clock_timestamp()); is_last boolean;
BEGIN
    PERFORM datalane.require_rank(2);
    held := datalane.hold_agent_run(run, token);
    SELECT c.attempt_count >= c.max_attempts INTO is_last FROM datalane.tool_calls c
    WHERE c.workspace_id = held.workspace_id AND c.tool_call_id = call AND c.run_id = run;
    IF retryable AND NOT is_last THEN
        PERFORM datalane.move_tool_call(held.workspace_id, run, call, 'retrying', at, class, message);
        RETURN 'retrying';
    END IF;
    PERFORM datalane.move_tool_call(held.workspace_id, run, call, 'failed', at, class, message);
    PERFORM datalane.tell_of_tool_call(held.workspace_id, call, at);
    PERFORM datalane.settle_agent_run(held.workspace_id, run, at);
    RETURN 'failed';
END $$;

-- Leave a call that was authorized and has not begun.
CREATE FUNCTION datalane.cancel_tool_call(run uuid, token bigint, call uuid, now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    held datalane.agent_runs;
    at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    PERFORM datalane.require_rank(2);
    held := datalane.hold_agent_run(run, token);
    PERFORM datalane.move_tool_call(held.workspace_id, run, call, 'canceled', at);
    PERFORM datalane.tell_of_tool_call(held.workspace_id, call, at);
    PERFORM datalane.settle_agent_run(held.workspace_id, run, at);
END $$;

-- End a run. What it had open is over with it.
CREATE FUNCTION datalane.end_agent_run(
    run uuid, token bigint, outcome text, output jsonb DEFAULT NULL, conforms boolean DEFAULT NULL, class text DEFAULT NULL,
    message text DEFAULT NULL, now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    held datalane.agent_runs;
    at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    PERFORM datalane.require_rank(2);
    held := datalane.hold_agent_run(run, token);
    IF outcome NOT IN ('completed', 'failed', 'blocked_policy', 'escalated_human') THEN
        RAISE EXCEPTION 'a run ends as completed, failed, blocked_policy or escalated_human, not %', outcome USING ERRCODE = 'DL400';
    END IF;
    IF (outcome IN ('failed', 'blocked_policy')) <> (class IS NOT NULL) THEN
        RAISE EXCEPTION 'a run that fails or is blocked says its error class, and no other does' USING ERRCODE = 'DL400';
    END IF;
    PERFORM datalane.close_tool_calls(held.workspace_id, run, coalesce(class, 'unexpected_internal'), 'the run ended before the call', at);
    PERFORM datalane.settle_agent_run(held.workspace_id, run, at);
    UPDATE datalane.agent_runs r SET output = output, conforms = conforms
    WHERE r.workspace_id = held.workspace_id AND r.run_id = run;
    PERFORM datalane.move_agent_run(held.workspace_id, run, outcome, NULL, at, class, message);
END $$;

-- A person decides about a call that waits for it. When it is approved, a run that goes on from the one that ended is queued, in
-- which the same call is allowed once; the call itself is over. Answers that run and its agent.
CREATE FUNCTION datalane.resolve_tool_call(
    call uuid, approve boolean, reason text, patience interval DEFAULT '24 hours', now timestamptz DEFAULT NULL)
RETURNS TABLE (following_run_id uuid, agent text) LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    workspace constant uuid := app.workspace_id(); at constant timestamptz := coalesce(now, clock_timestamp());
    asked datalane.tool_calls; ended datalane.agent_runs; following uuid;
BEGIN
    PERFORM datalane.require_rank(3);
    SELECT r.* INTO ended FROM datalane.agent_runs r
    WHERE r.workspace_id = workspace AND r.run_id = (
        SELECT c.run_id FROM datalane.tool_calls c WHERE c.workspace_id = workspace AND c.tool_call_id = call) FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such tool call' USING ERRCODE = 'DL404';
    END IF;
    SELECT c.* INTO asked FROM datalane.tool_calls c WHERE c.workspace_id = workspace AND c.tool_call_id = call;
    IF asked.status <> 'requested' THEN
        RAISE EXCEPTION 'the tool call waits for nobody; it is %', asked.status USING ERRCODE = 'DL409';
    END IF;
    UPDATE datalane.tool_calls c SET decided_by_actor_id = app.actor_id(), is_approved = approve, reason = left(reason, 500)
    WHERE c.workspace_id = workspace AND c.tool_call_id = call;
    IF NOT approve THEN
        PERFORM datalane.move_tool_call(workspace, asked.run_id, call, 'blocked_policy', at, 'policy_denied',
                                        'a person did not approve the call', 'denied');
        PERFORM datalane.tell_of_tool_call(workspace, call, at);
    ELSE
        PERFORM datalane.move_tool_call(workspace, asked.run_id, call, 'authorized', at, NULL, NULL, 'approved');
        PERFORM datalane.move_tool_call(workspace, asked.run_id, call, 'canceled', at, NULL, NULL, 'continued');
        SELECT b.run_id INTO following FROM datalane.begin_agent_run(
            ended.agent, NULL, patience, ended.max_attempts, ended.thread_id, ended.run_id, NULL, ended.prompt_version_id,
            ended.model_version_id, ended.output_schema_version_id, ended.input, ended.scopes, ended.actor_id,
            ended.correlation_id, ended.causation_id, ended.causation_depth, at) AS b;
    END IF;
    PERFORM datalane.audit_for(workspace, app.actor_id(), app.correlation_id(),
                               CASE WHEN approve THEN 'tool_call.approved' ELSE 'tool_call.denied' END, 'tool_call', call::text, NULL,
                               jsonb_build_object('run_id', asked.run_id, 'tool', asked.tool_name, 'reason', left(reason, 500),
                                                  'following_run_id', following), at);
    following_run_id := following;
    agent := CASE WHEN approve THEN ended.agent END;
    RETURN NEXT;
END $$;

GRANT EXECUTE ON FUNCTION
    datalane.agent_run_may_go(text, text),
    datalane.tool_call_may_go(text, text),
    datalane.open_agent_thread(text, text, timestamptz),
    datalane.begin_agent_run(text, text, interval, integer, uuid, uuid, text, uuid, uuid, uuid, jsonb, text[], uuid, text, uuid, integer, timestamptz),
    datalane.take_agent_run(uuid, text, interval, timestamptz),
    datalane.extend_agent_runs(uuid[], bigint[], interval, timestamptz),
    datalane.record_agent_steps(uuid, bigint, jsonb, timestamptz),
    datalane.request_tool_call(uuid, bigint, text, integer, jsonb, bytea, text, text, text, integer, text, text, boolean, uuid, interval, timestamptz),
    datalane.called_tool(uuid, bigint, uuid),
    datalane.agent_output_schema(uuid, bigint),
    datalane.start_tool_call(uuid, bigint, uuid, timestamptz),
    datalane.succeed_tool_call(uuid, bigint, uuid, jsonb, timestamptz),
    datalane.fail_tool_call(uuid, bigint, uuid, text, text, boolean, timestamptz),
    datalane.cancel_tool_call(uuid, bigint, uuid, timestamptz),
    datalane.end_agent_run(uuid, bigint, text, jsonb, boolean, text, text, timestamptz),
    datalane.resolve_tool_call(uuid, boolean, text, interval, timestamptz)
TO datalane_app;
GRANT EXECUTE ON FUNCTION datalane.sweep_agent_runs(integer, interval, timestamptz) TO datalane_maintenance;
SET LOCAL ROLE datalane_owner;
