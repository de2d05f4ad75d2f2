-- What somebody thinks of one thing. Nobody changes it afterwards; of two by one person the later one counts.
-- It names the thing without a reference: a chunk may go with its document, and answers and citations never do.
CREATE TABLE datalane.feedback (
    workspace_id uuid NOT NULL,
    feedback_id uuid NOT NULL,
    response_id uuid,
    citation_id uuid,
    chunk_id uuid,
    rating smallint NOT NULL CONSTRAINT rating_is_up_or_down CHECK (rating IN (-1, 1)),
    comment text CONSTRAINT a_comment_is_short CHECK (char_length(comment) <= 2000),
    question text CONSTRAINT a_question_is_short CHECK (char_length(question) <= 8000),
    created_at timestamptz NOT NULL,
    actor_id uuid NOT NULL,
    correlation_id text NOT NULL,
    PRIMARY KEY (workspace_id, feedback_id),
    CONSTRAINT feedback_is_on_one_thing CHECK (num_nonnulls(response_id, citation_id, chunk_id) = 1)
);
CREATE INDEX feedback_by_response ON datalane.feedback (workspace_id, response_id) WHERE response_id IS NOT NULL;
CREATE INDEX feedback_by_citation ON datalane.feedback (workspace_id, citation_id) WHERE citation_id IS NOT NULL;
SELECT app.protect('datalane.feedback', 'append');
