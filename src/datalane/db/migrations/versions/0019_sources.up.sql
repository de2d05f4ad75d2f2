-- Which document is that of a source that connectors push. `source_key` is the first half of the SHA-256 of the source's URI:
-- a URI may be longer than an index takes.
CREATE TABLE datalane.document_sources (
    workspace_id uuid NOT NULL,
    source_key uuid NOT NULL,
    document_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, source_key),
    FOREIGN KEY (workspace_id, document_id) REFERENCES datalane.documents (workspace_id, document_id) ON DELETE CASCADE
);
CREATE INDEX document_sources_by_document ON datalane.document_sources (workspace_id, document_id);
SELECT app.protect('datalane.document_sources', 'tenant');
