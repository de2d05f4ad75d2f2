-- What the demo counts and checks, in plain SQL through the tenant door.

-- name: count_ingested(workspace_id, kind)^
-- Documents that are searchable, and jobs of `kind` that ended without success. It is asked again and again while they are
-- worked on, so each count reads one index.
SELECT (SELECT count(*) FROM datalane.documents d
        WHERE d.workspace_id = :workspace_id AND d.current_version_id IS NOT NULL) AS searchable,
       (SELECT count(*) FROM datalane.jobs j WHERE j.workspace_id = :workspace_id AND j.shelf = 'stopped' AND j.kind = :kind
           AND j.status IN ('failed', 'dead_letter')) AS failed;

-- name: list_failures(workspace_id)
-- Documents that failed, with their class.
SELECT d.source_uri, j.status, j.last_error_class
FROM datalane.documents d
JOIN datalane.document_versions v ON v.workspace_id = d.workspace_id AND v.document_id = d.document_id
    AND v.ordinal = d.latest_ordinal
JOIN datalane.jobs j ON j.workspace_id = v.workspace_id AND j.id = v.job_id
WHERE d.workspace_id = :workspace_id AND j.status IN ('failed', 'dead_letter') ORDER BY d.source_uri;

-- name: count_chunks(workspace_id)$
-- Chunks of current versions.
SELECT count(*) FROM datalane.chunks c
JOIN datalane.documents d ON d.workspace_id = c.workspace_id AND d.document_id = c.document_id
    AND d.current_version_id = c.version_id
WHERE c.workspace_id = :workspace_id;

-- name: read_evidence(workspace_id, response_ids)
-- Citations with everything needed to check them without the lane's own help.
SELECT c.citation_id, c.version_id, c.quote_start_offset, c.quote_end_offset, c.quote_sha256,
       k.start_offset, k.end_offset, k.start_byte, k.end_byte, k.text AS chunk_text, s.text AS segment_text
FROM datalane.citations c
JOIN datalane.response_segments s ON s.workspace_id = c.workspace_id AND s.response_segment_id = c.response_segment_id
LEFT JOIN datalane.chunks k ON k.workspace_id = c.workspace_id AND k.chunk_id = c.chunk_id
WHERE c.workspace_id = :workspace_id AND c.response_id = ANY (:response_ids::uuid[]);

-- name: read_texts(workspace_id, version_ids)
-- Canonical texts.
SELECT version_id, canonical_text FROM datalane.document_versions
WHERE workspace_id = :workspace_id AND version_id = ANY (:version_ids::uuid[]);

-- name: list_documents(workspace_id, most)
-- Ids that belong to documents.
SELECT d.document_id, v.version_id, v.job_id, d.source_uri
FROM datalane.documents d
JOIN datalane.document_versions v ON v.workspace_id = d.workspace_id AND v.document_id = d.document_id
WHERE d.workspace_id = :workspace_id ORDER BY d.document_id, v.ordinal LIMIT :most;

-- name: list_chunks(workspace_id, most)
-- Chunks with their text.
SELECT chunk_id, text FROM datalane.chunks WHERE workspace_id = :workspace_id ORDER BY chunk_id LIMIT :most;

-- name: list_citations(workspace_id, most)
-- Ids that belong to responses.
SELECT citation_id, response_id, response_segment_id FROM datalane.citations
WHERE workspace_id = :workspace_id ORDER BY citation_id LIMIT :most;

-- name: list_events(workspace_id, most)
-- Ids of events.
SELECT event_id FROM datalane.events WHERE workspace_id = :workspace_id ORDER BY event_id LIMIT :most;

-- name: read_assisted(workspace_id)^
-- Outputs of the assistant that are as their schema says, and what its runs cost: by themselves, by their steps, as counted.
SELECT (SELECT count(*) FROM datalane.agent_runs WHERE workspace_id = :workspace_id AND conforms) AS conforming,
       (SELECT coalesce(sum(cost), 0) FROM datalane.agent_runs WHERE workspace_id = :workspace_id) AS cost_of_runs,
       (SELECT coalesce(sum(cost), 0) FROM datalane.agent_steps WHERE workspace_id = :workspace_id) AS cost_of_steps,
       (SELECT coalesce(sum(used), 0) FROM datalane.agent_usage
        WHERE workspace_id = :workspace_id AND meter = 'agent.cost') AS cost_counted;
