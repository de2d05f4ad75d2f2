-- Judged queries that were asked, all of one dataset by one method. A run is a measurement: nobody changes it afterwards.
CREATE TABLE datalane.evaluation_runs (
    workspace_id uuid NOT NULL,
    run_id uuid NOT NULL,
    dataset text NOT NULL,
    dataset_sha256 bytea NOT NULL CONSTRAINT a_sha256_has_32_bytes CHECK (octet_length(dataset_sha256) = 32),
    method text NOT NULL CONSTRAINT method_is_known CHECK (method IN ('semantic', 'keyword', 'hybrid')),
    keyword_weight double precision,
    versions jsonb NOT NULL,
    queries integer NOT NULL CONSTRAINT a_run_has_queries CHECK (queries > 0),
    measures jsonb NOT NULL,
    p95_ms double precision NOT NULL,
    created_at timestamptz NOT NULL,
    actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, run_id)
);
CREATE INDEX evaluation_runs_by_dataset ON datalane.evaluation_runs (workspace_id, dataset_sha256, method, run_id);
SELECT app.protect('datalane.evaluation_runs', 'append');

-- What each query had: its measures by name, and the documents that were found, best first.
CREATE TABLE datalane.evaluation_results (
    workspace_id uuid NOT NULL,
    run_id uuid NOT NULL,
    query_id text NOT NULL,
    measures jsonb NOT NULL,
    found text[] NOT NULL,
    PRIMARY KEY (workspace_id, run_id, query_id),
    FOREIGN KEY (workspace_id, run_id) REFERENCES datalane.evaluation_runs (workspace_id, run_id)
);
SELECT app.protect('datalane.evaluation_results', 'append');
