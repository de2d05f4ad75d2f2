-- A trace that spans came of. Its row is locked while they are taken, so that of several batches at once each sees the ones before.
-- A trace has no run while only its root is known, and that says nothing of an agent; such a trace is forgotten after a time.
CREATE TABLE datalane.agent_traces (
    workspace_id uuid NOT NULL,
    trace_id text NOT NULL CONSTRAINT trace_ids_are_short CHECK (length(trace_id) BETWEEN 1 AND 64),
    run_id uuid,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, trace_id),
    CONSTRAINT one_trace_per_run UNIQUE (workspace_id, run_id),
    FOREIGN KEY (workspace_id, run_id) REFERENCES datalane.agent_runs (workspace_id, run_id)
);
CREATE INDEX agent_traces_without_a_run ON datalane.agent_traces (received_at) WHERE run_id IS NULL;
SELECT app.protect('datalane.agent_traces', 'log', verbs => 'SELECT, INSERT, UPDATE, DELETE');

-- The spans that were taken, so that none counts twice, with what they say of their run as a whole. Of a span that says nothing of
-- agents (`other`) only a root is kept.
CREATE TABLE datalane.agent_spans (
    workspace_id uuid NOT NULL,
    trace_id text NOT NULL,
    span_id text NOT NULL CONSTRAINT span_ids_are_short CHECK (length(span_id) BETWEEN 1 AND 64),
    parent_span_id text CONSTRAINT parents_are_short CHECK (length(parent_span_id) BETWEEN 1 AND 64),
    kind text NOT NULL CONSTRAINT kind_is_known CHECK (kind IN ('agent', 'model', 'retrieval', 'custom', 'tool', 'other')),
    agent text CONSTRAINT agents_have_short_names CHECK (length(agent) BETWEEN 1 AND 200),
    service text NOT NULL CONSTRAINT services_have_short_names CHECK (length(service) BETWEEN 1 AND 200),
    conversation text CONSTRAINT conversations_are_short CHECK (length(conversation) BETWEEN 1 AND 200),
    error_class text CONSTRAINT error_class_is_known CHECK (error_class IN ('timeout', 'validation_error', 'authz_denied',
        'policy_denied', 'provider_error', 'dependency_unavailable', 'unexpected_internal')),
    error_message text CONSTRAINT error_messages_are_short CHECK (length(error_message) <= 2000),
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, trace_id, span_id),
    CONSTRAINT spans_end_after_they_start CHECK (ended_at >= started_at),
    FOREIGN KEY (workspace_id, trace_id) REFERENCES datalane.agent_traces (workspace_id, trace_id)
);
SELECT app.protect('datalane.agent_spans', 'log', verbs => 'SELECT, INSERT, DELETE');
