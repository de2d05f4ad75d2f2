-- name: find_target(workspace_id, response_id, citation_id, chunk_id)$
-- Whether what feedback is on is there.
SELECT EXISTS (SELECT FROM datalane.responses WHERE workspace_id = :workspace_id AND response_id = :response_id)
    OR EXISTS (SELECT FROM datalane.citations WHERE workspace_id = :workspace_id AND citation_id = :citation_id)
    OR EXISTS (SELECT FROM datalane.chunks WHERE workspace_id = :workspace_id AND chunk_id = :chunk_id);

-- name: add_feedback(workspace_id, feedback_id, response_id, citation_id, chunk_id, rating, comment, question, now, actor_id, correlation_id)!
-- What somebody thinks.
INSERT INTO datalane.feedback (workspace_id, feedback_id, response_id, citation_id, chunk_id, rating, comment, question,
                               created_at, actor_id, correlation_id)
VALUES (:workspace_id, :feedback_id, :response_id, :citation_id, :chunk_id, :rating, :comment, :question, :now, :actor_id,
        :correlation_id);

-- name: list_feedback(workspace_id, rating, before, page_size)
-- Feedback, the newest first.
SELECT feedback_id, response_id, citation_id, chunk_id, rating, comment, question, created_at, actor_id, correlation_id
FROM datalane.feedback
WHERE workspace_id = :workspace_id AND (:rating::smallint IS NULL OR rating = :rating)
  AND (:before::uuid IS NULL OR feedback_id < :before)
ORDER BY feedback_id DESC LIMIT :page_size;

-- name: list_of_response(workspace_id, response_id, citation_ids)
-- Feedback on a response and on its citations.
SELECT feedback_id, response_id, citation_id, chunk_id, rating, comment, question, created_at, actor_id, correlation_id
FROM datalane.feedback
WHERE workspace_id = :workspace_id AND (response_id = :response_id OR citation_id = ANY (:citation_ids::uuid[]))
ORDER BY feedback_id;

-- name: list_of_chunk(workspace_id, chunk_id)
-- Feedback on a chunk.
SELECT feedback_id, response_id, citation_id, chunk_id, rating, comment, question, created_at, actor_id, correlation_id
FROM datalane.feedback WHERE workspace_id = :workspace_id AND chunk_id = :chunk_id ORDER BY feedback_id;

-- name: count_on_answers(workspace_id)
-- Thumbs on responses by what wrote them. The later word of one person on one response counts.
WITH said AS (
    SELECT DISTINCT ON (actor_id, response_id) response_id, rating FROM datalane.feedback
    WHERE workspace_id = :workspace_id AND response_id IS NOT NULL
    ORDER BY actor_id, response_id, created_at DESC, feedback_id DESC)
SELECT r.answer_model_version, count(*) FILTER (WHERE s.rating > 0) AS up, count(*) FILTER (WHERE s.rating < 0) AS down
FROM said s JOIN datalane.responses r ON r.workspace_id = :workspace_id AND r.response_id = s.response_id
GROUP BY r.answer_model_version ORDER BY r.answer_model_version NULLS FIRST;

-- name: list_judgements(workspace_id)
-- What people think of a document as an answer to a question: by its chunks that were found, and those that were cited. The
-- later word of one person on one thing counts; more up than down is 1, else 0.
WITH said AS (
    SELECT DISTINCT ON (f.actor_id, f.citation_id, f.chunk_id, f.question)
           coalesce(f.question, r.question) AS question, coalesce(c.document_id, k.document_id) AS document_id, f.rating
    FROM datalane.feedback f
    LEFT JOIN datalane.citations c ON c.workspace_id = f.workspace_id AND c.citation_id = f.citation_id
    LEFT JOIN datalane.responses r ON r.workspace_id = c.workspace_id AND r.response_id = c.response_id
    LEFT JOIN datalane.chunks k ON k.workspace_id = f.workspace_id AND k.chunk_id = f.chunk_id
    WHERE f.workspace_id = :workspace_id AND f.response_id IS NULL
    ORDER BY f.actor_id, f.citation_id, f.chunk_id, f.question, f.created_at DESC)
SELECT s.question, d.source_uri, (sum(s.rating) > 0)::integer AS grade
FROM said s JOIN datalane.documents d ON d.workspace_id = :workspace_id AND d.document_id = s.document_id
WHERE s.question IS NOT NULL AND d.source_uri !~ '^\s|[\t\r\n]|\s$' GROUP BY s.question, d.source_uri ORDER BY 1, 2;
