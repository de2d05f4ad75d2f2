-- name: find_models(workspace_id, providers, models, revisions)
-- The versions of models that are known.
SELECT m.model_version_id, m.provider, m.model, m.revision
FROM unnest(:providers::text[], :models::text[], :revisions::text[]) AS n (provider, model, revision)
JOIN datalane.agent_models m
    ON m.workspace_id = :workspace_id AND m.provider = n.provider AND m.model = n.model AND m.revision = n.revision;

-- name: open_threads(external_ids, now)
-- The threads of conversations, in the order of their names.
SELECT datalane.open_agent_thread(n.external_id, NULL, :now)
FROM (SELECT e.external_id FROM unnest(:external_ids::text[]) AS e (external_id) ORDER BY 1) AS n;

-- name: take_spans(traces, spans, scopes, patience, now)$
-- Spans of traces, in the order of their names. How many of them were new.
SELECT coalesce(sum(t.kept), 0)
FROM (SELECT e.trace_id, e.spans FROM unnest(:traces::text[], :spans::text[]) AS e (trace_id, spans) ORDER BY 1) AS n
CROSS JOIN LATERAL datalane.take_agent_spans(n.trace_id, n.spans::jsonb, :scopes, :patience, :now) AS t;
