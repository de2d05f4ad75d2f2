-- Search: one inverted index for every domain. `collection` says whose entries they are (1: chunks).
-- A term is the 64-bit hash of its lexeme, so that ingestion shares no dictionary and no counter.

CREATE TABLE datalane.search_postings (
    workspace_id uuid NOT NULL,
    collection smallint NOT NULL,
    term_id bigint NOT NULL,
    entry_id uuid NOT NULL,
    tf smallint NOT NULL,
    length integer NOT NULL,
    PRIMARY KEY (workspace_id, collection, term_id, entry_id) INCLUDE (tf, length)
);
SELECT app.protect('datalane.search_postings', 'tenant');

-- What an entry put into the postings, so that exactly that can be taken out again.
CREATE TABLE datalane.search_entries (
    workspace_id uuid NOT NULL,
    collection smallint NOT NULL,
    entry_id uuid NOT NULL,
    length integer NOT NULL,
    term_ids bigint[] NOT NULL,
    PRIMARY KEY (workspace_id, collection, entry_id)
);
SELECT app.protect('datalane.search_entries', 'tenant');

-- Number and total length of a collection's entries, in parts, so that parallel ingestion does not wait in line.
CREATE TABLE datalane.search_totals (
    workspace_id uuid NOT NULL,
    collection smallint NOT NULL,
    part smallint NOT NULL,
    entries bigint NOT NULL,
    length bigint NOT NULL,
    PRIMARY KEY (workspace_id, collection, part)
);
SELECT app.protect('datalane.search_totals', 'tenant');

-- A member may replace what is indexed, for instance with a new version of a text, so the index's own rows may be
-- deleted by those who may write them. Documents are deleted by admins alone.
CREATE POLICY app_reindex ON datalane.search_postings FOR DELETE TO datalane_app
    USING (workspace_id = app.workspace_id() AND app.actor_rank() >= 2);
CREATE POLICY app_reindex ON datalane.search_entries FOR DELETE TO datalane_app
    USING (workspace_id = app.workspace_id() AND app.actor_rank() >= 2);

-- Documents ----------------------------------------------------------------------------------------------------

CREATE TABLE datalane.documents (
    workspace_id uuid NOT NULL,
    document_id uuid NOT NULL,
    title text,
    source_uri text,
    metadata jsonb NOT NULL DEFAULT '{}',
    tags text[] NOT NULL DEFAULT '{}',
    latest_ordinal integer NOT NULL DEFAULT 1,
    current_version_id uuid,
    current_ordinal integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, document_id)
);
SELECT app.protect('datalane.documents', 'tenant');

CREATE TABLE datalane.document_versions (
    workspace_id uuid NOT NULL,
    version_id uuid NOT NULL,
    document_id uuid NOT NULL,
    ordinal integer NOT NULL,
    filename text,
    media_type text,
    size_bytes bigint NOT NULL,
    content_sha256 bytea NOT NULL CONSTRAINT a_sha256_has_32_bytes CHECK (octet_length(content_sha256) = 32),
    file_key text NOT NULL,
    job_id uuid,
    title text,
    canonical_text text,
    characters integer,
    page_starts integer[],
    parser_version text,
    chunker_version text,
    embedding_model_version text,
    search_language text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    indexed_at timestamptz,
    PRIMARY KEY (workspace_id, version_id),
    CONSTRAINT one_version_per_ordinal UNIQUE (workspace_id, document_id, ordinal),
    FOREIGN KEY (workspace_id, document_id) REFERENCES datalane.documents (workspace_id, document_id) ON DELETE CASCADE,
    CONSTRAINT indexed_versions_have_their_text CHECK ((indexed_at IS NULL) = (canonical_text IS NULL)),
    CONSTRAINT an_original_lies_in_its_workspace CHECK (file_key = workspace_id::text || '/' || version_id::text)
);
CREATE INDEX document_versions_by_content ON datalane.document_versions (workspace_id, content_sha256);
SELECT app.protect('datalane.document_versions', 'tenant');

-- The state of each version's ingestion: its job's, or that of the last job of the line of replays that began with it. What is
-- not among the jobs any more has completed; history tells how, until its retention has passed.
CREATE VIEW datalane.version_ingestions WITH (security_invoker = true) AS
    SELECT v.workspace_id, v.version_id,
           CASE WHEN last.here THEN last.id ELSE coalesce(last.replayed_by, v.job_id) END AS job_id,
           CASE WHEN last.here THEN last.status ELSE 'completed' END AS status,
           CASE WHEN last.here THEN last.attempt_count ELSE h.attempt_count END AS attempt_count,
           CASE WHEN last.here THEN last.last_error_class ELSE h.last_error_class END AS error_class,
           CASE WHEN last.here THEN last.last_error_message ELSE h.last_error_message END AS error_message,
           coalesce(last.here AND last.status = 'dead_letter', false) AS replay_eligible
    FROM datalane.document_versions v
    LEFT JOIN LATERAL (
        WITH RECURSIVE line AS (
            SELECT j.id, j.status, j.attempt_count, j.last_error_class, j.last_error_message, j.replayed_by, 1 AS step
            FROM datalane.jobs j WHERE j.workspace_id = v.workspace_id AND j.id = v.job_id
            UNION ALL
            SELECT j.id, j.status, j.attempt_count, j.last_error_class, j.last_error_message, j.replayed_by, line.step + 1
            FROM line JOIN datalane.jobs j ON j.workspace_id = v.workspace_id AND j.id = line.replayed_by
        )
        SELECT line.id, line.status, line.attempt_count, line.last_error_class, line.last_error_message, line.replayed_by,
               line.replayed_by IS NULL AS here
        FROM line ORDER BY line.step DESC LIMIT 1
    ) last ON true
    LEFT JOIN datalane.job_history h ON h.workspace_id = v.workspace_id AND h.id = coalesce(last.replayed_by, v.job_id);
GRANT SELECT ON datalane.version_ingestions TO datalane_app;

CREATE TABLE datalane.chunks (
    workspace_id uuid NOT NULL,
    chunk_id uuid NOT NULL,
    document_id uuid NOT NULL,
    version_id uuid NOT NULL,
    ordinal integer NOT NULL,
    start_offset integer NOT NULL,
    end_offset integer NOT NULL,
    start_byte bigint NOT NULL,
    end_byte bigint NOT NULL,
    page integer,
    text text NOT NULL,
    PRIMARY KEY (workspace_id, chunk_id),
    CONSTRAINT one_chunk_per_ordinal UNIQUE (workspace_id, version_id, ordinal),
    FOREIGN KEY (workspace_id, version_id) REFERENCES datalane.document_versions (workspace_id, version_id) ON DELETE CASCADE,
    CONSTRAINT a_chunk_is_as_long_as_its_text CHECK (
        end_offset - start_offset = char_length(text) AND end_byte - start_byte = octet_length(text)
        AND start_offset >= 0 AND start_byte >= start_offset)
);
SELECT app.protect('datalane.chunks', 'tenant');

-- Narrow rows with the vector inline: an exact search reads nothing else.
CREATE TABLE datalane.chunk_vectors (
    workspace_id uuid NOT NULL,
    model_version text NOT NULL,
    chunk_id uuid NOT NULL,
    embedding public.vector NOT NULL,
    PRIMARY KEY (workspace_id, model_version, chunk_id),
    FOREIGN KEY (workspace_id, chunk_id) REFERENCES datalane.chunks (workspace_id, chunk_id) ON DELETE CASCADE
);
ALTER TABLE datalane.chunk_vectors ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE INDEX chunk_vectors_by_chunk ON datalane.chunk_vectors (workspace_id, chunk_id);
SELECT app.protect('datalane.chunk_vectors', 'tenant');
CREATE POLICY app_reindex ON datalane.chunk_vectors FOR DELETE TO datalane_app
    USING (workspace_id = app.workspace_id() AND app.actor_rank() >= 2);

-- Responses and citations -----------------------------------------------------------------------------------------

CREATE TABLE datalane.responses (
    workspace_id uuid NOT NULL,
    response_id uuid NOT NULL,
    agent_run_id uuid,
    question text,
    answer_model_version text,
    fallback text CONSTRAINT fallback_is_known CHECK (fallback IN ('missing_provenance', 'no_results')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor_id uuid NOT NULL,
    correlation_id text NOT NULL,
    PRIMARY KEY (workspace_id, response_id)
);
SELECT app.protect('datalane.responses', 'append');

CREATE TABLE datalane.response_segments (
    workspace_id uuid NOT NULL,
    response_segment_id uuid NOT NULL,
    response_id uuid NOT NULL,
    ordinal integer NOT NULL,
    start_offset integer NOT NULL,
    end_offset integer NOT NULL,
    text text NOT NULL,
    PRIMARY KEY (workspace_id, response_segment_id),
    CONSTRAINT one_segment_per_ordinal UNIQUE (workspace_id, response_id, ordinal),
    FOREIGN KEY (workspace_id, response_id) REFERENCES datalane.responses (workspace_id, response_id),
    CONSTRAINT a_segment_is_as_long_as_its_text CHECK (end_offset - start_offset = char_length(text))
);
SELECT app.protect('datalane.response_segments', 'append');

-- A citation pins a document version. It outlives the document: a citation of a deleted one says so when verified.
CREATE TABLE datalane.citations (
    workspace_id uuid NOT NULL,
    citation_id uuid NOT NULL,
    response_id uuid NOT NULL,
    response_segment_id uuid NOT NULL,
    agent_run_id uuid,
    document_id uuid NOT NULL,
    version_id uuid NOT NULL,
    chunk_id uuid NOT NULL,
    quote_start_offset integer NOT NULL,
    quote_end_offset integer NOT NULL,
    quote_sha256 bytea NOT NULL,
    evidence_type text NOT NULL CONSTRAINT evidence_type_is_known
        CHECK (evidence_type IN ('direct', 'supporting', 'inferred')),
    confidence_score double precision NOT NULL CONSTRAINT confidence_is_a_fraction
        CHECK (confidence_score BETWEEN 0 AND 1),
    confidence_band text NOT NULL CONSTRAINT confidence_band_is_known CHECK (confidence_band IN ('high', 'medium', 'low')),
    embedding_model_version text,
    answer_model_version text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workspace_id, citation_id),
    FOREIGN KEY (workspace_id, response_id) REFERENCES datalane.responses (workspace_id, response_id),
    FOREIGN KEY (workspace_id, response_segment_id)
        REFERENCES datalane.response_segments (workspace_id, response_segment_id),
    CONSTRAINT a_quote_is_not_empty CHECK (quote_end_offset > quote_start_offset)
);
CREATE INDEX citations_by_response ON datalane.citations (workspace_id, response_id);
CREATE INDEX citations_by_document ON datalane.citations (workspace_id, document_id);
SELECT app.protect('datalane.citations', 'append');
