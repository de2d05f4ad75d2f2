-- name: lock_decisions(workspace_id, citation_id)$
-- Decisions about one citation are made in turn.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws('/', :workspace_id::uuid, :citation_id::uuid), 7));

-- name: get_decided(workspace_id, citation_id)^
-- What was decided last, and as the how manieth; nulls where nothing was, no row where there is no such citation.
SELECT m.outcome, m.ordinal FROM datalane.citations c
LEFT JOIN datalane.citation_moderations m ON m.workspace_id = c.workspace_id AND m.citation_id = c.citation_id
WHERE c.workspace_id = :workspace_id AND c.citation_id = :citation_id ORDER BY m.ordinal DESC NULLS LAST LIMIT 1;

-- name: add_moderation(workspace_id, moderation_id, citation_id, ordinal, outcome, category, reason, reference, now, actor_id, correlation_id)!
-- What was decided.
INSERT INTO datalane.citation_moderations (workspace_id, moderation_id, citation_id, ordinal, outcome, category, reason, reference,
                                           created_at, actor_id, correlation_id)
VALUES (:workspace_id, :moderation_id, :citation_id, :ordinal, :outcome, :category, :reason, :reference, :now, :actor_id,
        :correlation_id);

-- name: list_moderations(workspace_id, before, page_size)
-- What was decided, the newest first.
SELECT moderation_id, citation_id, outcome, category, reason, reference, created_at, actor_id, correlation_id
FROM datalane.citation_moderations
WHERE workspace_id = :workspace_id AND (:before::uuid IS NULL OR moderation_id < :before)
ORDER BY moderation_id DESC LIMIT :page_size;

-- name: last_moderations(workspace_id, citation_ids)
-- What was decided last about each of the citations.
SELECT DISTINCT ON (citation_id)
       moderation_id, citation_id, outcome, category, reason, reference, created_at, actor_id, correlation_id
FROM datalane.citation_moderations
WHERE workspace_id = :workspace_id AND citation_id = ANY (:citation_ids::uuid[])
ORDER BY citation_id, ordinal DESC;

-- name: find_standing(workspace_id, citation_ids)
-- Those that are citations of the workspace and are not suppressed.
SELECT c.citation_id FROM datalane.citations c
WHERE c.workspace_id = :workspace_id AND c.citation_id = ANY (:citation_ids::uuid[]) AND coalesce((
    SELECT m.outcome FROM datalane.citation_moderations m
    WHERE m.workspace_id = :workspace_id AND m.citation_id = c.citation_id ORDER BY m.ordinal DESC LIMIT 1), 'restored') = 'restored';

-- name: known_citations(workspace_id, citation_ids)
-- Those of the citations that are there.
SELECT citation_id FROM datalane.citations WHERE workspace_id = :workspace_id AND citation_id = ANY (:citation_ids::uuid[]);
