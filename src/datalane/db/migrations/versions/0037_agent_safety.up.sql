-- What moderation decided about a run. `subject` is what was judged, `reason` says why without saying what; `judged_by` is the name and
-- version of who judged, or `agent` where the model itself refused. `failed` is a judgement that was asked for and did not come: what was
-- to be judged counts as refused. An outcome that was allowed has a row too, so that it is told from one that was never asked for.
CREATE TABLE datalane.agent_moderations (
    workspace_id uuid NOT NULL,
    moderation_id uuid NOT NULL,
    run_id uuid NOT NULL,
    tool_call_id uuid,
    subject text NOT NULL CONSTRAINT subject_is_known CHECK (subject IN ('input', 'output', 'arguments', 'result')),
    outcome text NOT NULL CONSTRAINT outcome_is_known CHECK (outcome IN ('allowed', 'flagged', 'refused', 'failed')),
    category text CONSTRAINT categories_are_short CHECK (length(category) BETWEEN 1 AND 100),
    reason text CONSTRAINT reasons_are_short CHECK (length(reason) <= 500),
    judged_by text NOT NULL CONSTRAINT judges_have_short_names CHECK (length(judged_by) BETWEEN 1 AND 200),
    span_id text CONSTRAINT span_ids_are_short CHECK (length(span_id) BETWEEN 1 AND 64),
    citation_ids uuid[] NOT NULL DEFAULT '{}' CONSTRAINT citations_are_few CHECK (cardinality(citation_ids) <= 1000),
    at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, moderation_id),
    CONSTRAINT one_refusal_per_span UNIQUE (workspace_id, run_id, span_id),
    CONSTRAINT what_is_flagged_or_refused_has_a_category CHECK ((outcome IN ('flagged', 'refused')) <= (category IS NOT NULL)),
    FOREIGN KEY (workspace_id, run_id) REFERENCES datalane.agent_runs (workspace_id, run_id) ON DELETE CASCADE
);
CREATE INDEX agent_moderations_by_run ON datalane.agent_moderations (workspace_id, run_id, moderation_id);
CREATE INDEX agent_moderations_by_outcome ON datalane.agent_moderations (workspace_id, outcome, moderation_id);
SELECT app.protect('datalane.agent_moderations', 'log', verbs => 'SELECT, INSERT', operator_columns =>
    '{workspace_id,moderation_id,run_id,tool_call_id,subject,outcome,category,judged_by,at}');

-- What failed is told in words that may quote what was refused.
GRANT UPDATE (error_message) ON datalane.agent_transitions TO datalane_definer;

SET LOCAL ROLE datalane_definer;

-- What moderation decided about a run that is held. What is refused is to stand nowhere: with an input the run loses what it was given,
-- and with an output what its steps and calls hold besides, with their messages, since they may hold the same. A refusal by the model itself takes nothing
-- away. Answers the id.
CREATE FUNCTION datalane.record_agent_moderation(
    run uuid, token bigint, subject text, outcome text, judged_by text, category text DEFAULT NULL, reason text DEFAULT NULL,
    citation_ids uuid[] DEFAULT '{}', call uuid DEFAULT NULL, now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    held datalane.agent_runs; moderation constant uuid := app.uuid7();
BEGIN
    PERFORM datalane.require_rank(2);
    held := datalane.hold_agent_run(run, token);
    IF call IS NOT NULL AND NOT EXISTS (
            SELECT FROM datalane.tool_calls c WHERE c.workspace_id = held.workspace_id AND c.tool_call_id = call AND c.run_id = run) THEN
        RAISE EXCEPTION 'no such tool call' USING ERRCODE = 'DL404';
    END IF;
    INSERT INTO datalane.agent_moderations (workspace_id, moderation_id, run_id, tool_call_id, subject, outcome, category, reason,
                                            judged_by, citation_ids, at)
    VALUES (held.workspace_id, moderation, run, call, subject, outcome, category, left(reason, 500), judged_by,
            coalesce(citation_ids, '{}'), coalesce(now, clock_timestamp()));
    IF judged_by = 'agent' OR outcome NOT IN ('refused', 'failed') THEN
        RETURN moderation;
    END IF;
    IF subject = 'input' THEN
        UPDATE datalane.agent_runs r SET input = NULL WHERE r.workspace_id = held.workspace_id AND r.run_id = run;
    ELSIF subject = 'output' THEN
        UPDATE datalane.agent_steps s SET input = NULL, output = NULL, error_message = NULL
        WHERE s.workspace_id = held.workspace_id AND s.run_id = run;
        UPDATE datalane.tool_calls c
        SET arguments = NULL, result = NULL, error_message = NULL, reason = CASE WHEN c.rule_id <> 'tool.arguments' THEN c.reason END
        WHERE c.workspace_id = held.workspace_id AND c.run_id = run;
        UPDATE datalane.agent_transitions t SET error_message = NULL
        WHERE t.workspace_id = held.workspace_id AND t.run_id = run AND t.error_message IS NOT NULL;
    END IF;
    RETURN moderation;
END $$;

-- Refusals that spans tell, each once, however often and in whatever order its span comes: objects with `span_id`, `category`, `reason`
-- and `at`, of spans of models that were taken before. The caller holds the trace since it took them. Answers how many were new.
CREATE FUNCTION datalane.record_span_refusals(trace text, refusals jsonb)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    workspace constant uuid := app.workspace_id(); fresh integer;
BEGIN
    PERFORM datalane.require_rank(2);
    INSERT INTO datalane.agent_moderations (workspace_id, moderation_id, run_id, subject, outcome, category, reason, judged_by, span_id, at)
    SELECT workspace, app.uuid7(), t.run_id, 'output', 'refused', x.category, left(x.reason, 500), 'agent', x.span_id, x.at
    FROM jsonb_to_recordset(refusals) AS x (span_id text, category text, reason text, at timestamptz)
    JOIN datalane.agent_traces t ON t.workspace_id = workspace AND t.trace_id = trace AND t.run_id IS NOT NULL
    JOIN datalane.agent_spans s
        ON s.workspace_id = workspace AND s.trace_id = trace AND s.span_id = x.span_id AND s.kind = 'model'
    ORDER BY x.at, x.span_id
    ON CONFLICT ON CONSTRAINT one_refusal_per_span DO NOTHING;
    GET DIAGNOSTICS fresh = ROW_COUNT;
    RETURN fresh;
END $$;

REVOKE ALL ON FUNCTION
    datalane.record_agent_moderation(uuid, bigint, text, text, text, text, text, uuid[], uuid, timestamptz),
    datalane.record_span_refusals(text, jsonb)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    datalane.record_agent_moderation(uuid, bigint, text, text, text, text, text, uuid[], uuid, timestamptz),
    datalane.record_span_refusals(text, jsonb)
TO datalane_app;
SET LOCAL ROLE datalane_owner;
