-- What moderation decided.

-- name: record_moderation(run_id, lease_token, subject, outcome, judged_by, category, reason, citation_ids, tool_call_id, now)$
-- Its id.
SELECT datalane.record_agent_moderation(
    :run_id, :lease_token, :subject, :outcome, :judged_by, :category, :reason, :citation_ids::uuid[], :tool_call_id, :now);

-- name: record_span_refusals(traces, refusals)$
-- Refusals that spans tell, of several traces, in the order of their names. How many were new.
SELECT coalesce(sum(datalane.record_span_refusals(n.trace_id, n.refusals::jsonb)), 0)
FROM (
    SELECT e.trace_id, e.refusals FROM unnest(:traces::text[], :refusals::text[]) AS e (trace_id, refusals) ORDER BY 1) AS n;

-- name: get_unjudged_input(workspace_id, run_id)^
-- What a run was given, unless that was judged before.
SELECT r.input FROM datalane.agent_runs r
WHERE r.workspace_id = :workspace_id AND r.run_id = :run_id AND NOT EXISTS (
    SELECT FROM datalane.agent_moderations m
    WHERE m.workspace_id = :workspace_id AND m.run_id = :run_id AND m.subject = 'input' AND m.outcome IN ('allowed', 'flagged'));

-- name: list_moderations(workspace_id, run_id, outcome, before, page_size)
-- The newest first.
SELECT moderation_id, run_id, tool_call_id, subject, outcome, category, reason, judged_by, citation_ids, at
FROM datalane.agent_moderations
WHERE workspace_id = :workspace_id
  AND (:run_id::uuid IS NULL OR run_id = :run_id)
  AND (:outcome::text IS NULL OR outcome = :outcome)
  AND (:before::uuid IS NULL OR moderation_id < :before)
ORDER BY moderation_id DESC LIMIT :page_size;
