-- Datasets are added and never changed, so that what was measured on one stays comparable. The digest is that of the cases, whatever
-- their order. Each case repeats how many there are: a dataset that has all of them takes no more, in raw SQL either.
CREATE TABLE datalane.agent_datasets (
    workspace_id uuid NOT NULL,
    dataset_version_id uuid NOT NULL,
    name text NOT NULL CONSTRAINT names_are_short CHECK (length(name) BETWEEN 1 AND 200),
    version integer NOT NULL CONSTRAINT versions_begin_at_one CHECK (version > 0),
    cases_sha256 bytea NOT NULL CONSTRAINT a_digest_has_32_bytes CHECK (octet_length(cases_sha256) = 32),
    cases integer NOT NULL CONSTRAINT a_dataset_has_1_to_10000_cases CHECK (cases BETWEEN 1 AND 10000),
    created_at timestamptz NOT NULL,
    created_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, dataset_version_id),
    CONSTRAINT one_dataset_per_version UNIQUE (workspace_id, name, version),
    CONSTRAINT one_version_per_cases UNIQUE (workspace_id, name, cases_sha256),
    CONSTRAINT cases_are_counted_once UNIQUE (workspace_id, dataset_version_id, cases)
);
SELECT app.protect('datalane.agent_datasets', 'append');

-- `expected` is what the output is to be, `relevant` grades documents by their ids or source URIs; null is not said.
CREATE TABLE datalane.agent_dataset_cases (
    workspace_id uuid NOT NULL,
    dataset_version_id uuid NOT NULL,
    ordinal integer NOT NULL,
    case_id text NOT NULL CONSTRAINT case_ids_are_short CHECK (length(case_id) BETWEEN 1 AND 200),
    cases integer NOT NULL,
    input jsonb NOT NULL,
    expected jsonb,
    relevant jsonb CONSTRAINT what_is_relevant_is_graded CHECK (jsonb_typeof(relevant) = 'object'),
    PRIMARY KEY (workspace_id, dataset_version_id, ordinal),
    CONSTRAINT one_case_per_id UNIQUE (workspace_id, dataset_version_id, case_id),
    CONSTRAINT cases_are_those_counted CHECK (ordinal > 0 AND ordinal <= cases),
    CONSTRAINT cases_are_of_a_dataset FOREIGN KEY (workspace_id, dataset_version_id, cases)
        REFERENCES datalane.agent_datasets (workspace_id, dataset_version_id, cases)
);
SELECT app.protect('datalane.agent_dataset_cases', 'append');

-- What an agent's answers to the cases of a dataset were worth: measured once and never changed. Of too few graded cases there are no
-- scores but the refusal of them. `unpriced` are cases whose cost is not known, or is in another currency.
CREATE TABLE datalane.agent_evaluations (
    workspace_id uuid NOT NULL,
    evaluation_id uuid NOT NULL,
    dataset_version_id uuid NOT NULL,
    agent text NOT NULL CONSTRAINT agents_have_short_names CHECK (length(agent) BETWEEN 1 AND 200),
    prompt_version_id uuid,
    model_version_id uuid,
    output_schema_version_id uuid,
    graders jsonb NOT NULL,
    cases integer NOT NULL,
    attempted integer NOT NULL,
    failed integer NOT NULL CONSTRAINT failed_cases_are_counted CHECK (failed >= 0),
    invalid integer NOT NULL CONSTRAINT invalid_cases_are_counted CHECK (invalid >= 0),
    graded integer NOT NULL CONSTRAINT graded_cases_are_counted CHECK (graded >= 0),
    coverage_threshold double precision NOT NULL
        CONSTRAINT coverage_threshold_is_a_share CHECK (coverage_threshold > 0 AND coverage_threshold <= 1),
    thresholds jsonb NOT NULL CONSTRAINT thresholds_are_by_score CHECK (jsonb_typeof(thresholds) = 'object'),
    scores jsonb CONSTRAINT scores_are_by_name CHECK (jsonb_typeof(scores) = 'object'),
    refusal text CONSTRAINT refusals_are_short CHECK (length(refusal) BETWEEN 1 AND 500),
    passed boolean,
    known_cost numeric NOT NULL CONSTRAINT costs_are_counted CHECK (known_cost >= 0 AND known_cost < 'NaN'),
    currency text CONSTRAINT currency_is_a_code CHECK (currency ~ '^[A-Z]{3}$'),
    unpriced integer NOT NULL CONSTRAINT unpriced_cases_are_counted CHECK (unpriced >= 0),
    input_tokens bigint CONSTRAINT input_tokens_are_counted CHECK (input_tokens >= 0),
    output_tokens bigint CONSTRAINT output_tokens_are_counted CHECK (output_tokens >= 0),
    created_at timestamptz NOT NULL,
    actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, evaluation_id),
    CONSTRAINT attempts_are_counted_once UNIQUE (workspace_id, evaluation_id, attempted),
    CONSTRAINT counts_add_up CHECK (attempted = failed + invalid + graded AND attempted <= cases),
    CONSTRAINT too_few_cases_have_no_score CHECK (
        (scores IS NOT NULL) = (graded::double precision / nullif(cases, 0) >= coverage_threshold)),
    CONSTRAINT scores_or_a_refusal CHECK ((scores IS NULL) = (refusal IS NOT NULL)),
    CONSTRAINT what_passed_has_scores CHECK (passed IS NULL OR scores IS NOT NULL),
    CONSTRAINT evaluations_are_of_a_dataset FOREIGN KEY (workspace_id, dataset_version_id, cases)
        REFERENCES datalane.agent_datasets (workspace_id, dataset_version_id, cases),
    FOREIGN KEY (workspace_id, prompt_version_id) REFERENCES datalane.agent_prompts (workspace_id, prompt_version_id),
    FOREIGN KEY (workspace_id, model_version_id) REFERENCES datalane.agent_models (workspace_id, model_version_id),
    FOREIGN KEY (workspace_id, output_schema_version_id)
        REFERENCES datalane.agent_output_schemas (workspace_id, output_schema_version_id)
);
CREATE INDEX agent_evaluations_by_dataset ON datalane.agent_evaluations (workspace_id, dataset_version_id, agent, evaluation_id);
CREATE INDEX agent_evaluations_by_prompt ON datalane.agent_evaluations (workspace_id, prompt_version_id)
    WHERE prompt_version_id IS NOT NULL;
CREATE INDEX agent_evaluations_by_model ON datalane.agent_evaluations (workspace_id, model_version_id)
    WHERE model_version_id IS NOT NULL;
SELECT app.protect('datalane.agent_evaluations', 'append');

-- What became of each case that was attempted. The run has no foreign key: it is forgotten before the result. Each result repeats how
-- many there are, so that an evaluation which has all of them takes no more.
CREATE TABLE datalane.agent_evaluation_results (
    workspace_id uuid NOT NULL,
    evaluation_id uuid NOT NULL,
    ordinal integer NOT NULL,
    case_id text NOT NULL CONSTRAINT case_ids_are_short CHECK (length(case_id) BETWEEN 1 AND 200),
    attempted integer NOT NULL,
    run_id uuid,
    outcome text NOT NULL CONSTRAINT outcome_is_known CHECK (outcome IN ('graded', 'failed', 'invalid')),
    scores jsonb CONSTRAINT scores_are_by_name CHECK (jsonb_typeof(scores) = 'object'),
    error_class text CONSTRAINT error_class_is_known CHECK (error_class IN ('timeout', 'validation_error', 'authz_denied',
        'policy_denied', 'provider_error', 'dependency_unavailable', 'unexpected_internal')),
    reason text CONSTRAINT reasons_are_short CHECK (length(reason) BETWEEN 1 AND 2000),
    cost numeric CONSTRAINT costs_are_counted CHECK (cost >= 0 AND cost < 'NaN'),
    currency text CONSTRAINT currency_is_a_code CHECK (currency ~ '^[A-Z]{3}$'),
    input_tokens bigint CONSTRAINT input_tokens_are_counted CHECK (input_tokens >= 0),
    output_tokens bigint CONSTRAINT output_tokens_are_counted CHECK (output_tokens >= 0),
    seconds double precision CONSTRAINT seconds_are_counted CHECK (seconds >= 0 AND seconds < 'Infinity'),
    PRIMARY KEY (workspace_id, evaluation_id, ordinal),
    CONSTRAINT one_result_per_case UNIQUE (workspace_id, evaluation_id, case_id),
    CONSTRAINT results_are_those_counted CHECK (ordinal > 0 AND ordinal <= attempted),
    CONSTRAINT what_is_graded_has_scores CHECK ((outcome = 'graded') = (scores IS NOT NULL)),
    CONSTRAINT what_failed_has_a_class CHECK ((outcome = 'failed') = (error_class IS NOT NULL)),
    CONSTRAINT what_is_not_graded_says_why CHECK ((outcome = 'graded') = (reason IS NULL)),
    CONSTRAINT results_are_of_an_evaluation FOREIGN KEY (workspace_id, evaluation_id, attempted)
        REFERENCES datalane.agent_evaluations (workspace_id, evaluation_id, attempted)
);
CREATE INDEX agent_evaluation_results_by_run ON datalane.agent_evaluation_results (workspace_id, run_id) WHERE run_id IS NOT NULL;
SELECT app.protect('datalane.agent_evaluation_results', 'append');
