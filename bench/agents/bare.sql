-- What one would write by hand: the same columns that a run and its steps are read by, no wall, no lease, no history.
CREATE TABLE bare_runs (
    workspace_id uuid NOT NULL, run_id uuid NOT NULL, agent text NOT NULL, status text NOT NULL, input jsonb, output jsonb,
    input_tokens bigint NOT NULL DEFAULT 0, output_tokens bigint NOT NULL DEFAULT 0, cost numeric NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL, completed_at timestamptz, PRIMARY KEY (workspace_id, run_id));
CREATE INDEX bare_runs_by_agent ON bare_runs (workspace_id, agent, run_id);
CREATE INDEX bare_runs_by_status ON bare_runs (workspace_id, status, run_id);
CREATE TABLE bare_steps (
    workspace_id uuid NOT NULL, run_id uuid NOT NULL, ordinal integer NOT NULL, kind text NOT NULL, name text NOT NULL,
    model_version_id uuid, input_tokens bigint, output_tokens bigint, cost numeric, input jsonb, output jsonb,
    started_at timestamptz NOT NULL, ended_at timestamptz NOT NULL, PRIMARY KEY (workspace_id, run_id, ordinal),
    FOREIGN KEY (workspace_id, run_id) REFERENCES bare_runs (workspace_id, run_id));
