-- Versions are added and never changed, so that what a run says of them stays true. The same text is the same version.
CREATE TABLE datalane.agent_prompts (
    workspace_id uuid NOT NULL,
    prompt_version_id uuid NOT NULL,
    name text NOT NULL CONSTRAINT names_are_short CHECK (length(name) BETWEEN 1 AND 200),
    version integer NOT NULL CONSTRAINT versions_begin_at_one CHECK (version > 0),
    template text NOT NULL CONSTRAINT a_template_has_at_most_64_kib CHECK (octet_length(template) BETWEEN 1 AND 65536),
    template_sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL,
    created_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, prompt_version_id),
    CONSTRAINT one_prompt_per_version UNIQUE (workspace_id, name, version),
    CONSTRAINT one_version_per_template UNIQUE (workspace_id, name, template_sha256),
    CONSTRAINT the_digest_is_the_templates CHECK (template_sha256 = sha256(convert_to(template, 'UTF8')))
);
SELECT app.protect('datalane.agent_prompts', 'append', verbs => 'SELECT');

-- `revision` is the provider's own word for what changed behind the model's name; empty where it has none.
CREATE TABLE datalane.agent_models (
    workspace_id uuid NOT NULL,
    model_version_id uuid NOT NULL,
    provider text NOT NULL CONSTRAINT providers_are_short CHECK (length(provider) BETWEEN 1 AND 200),
    model text NOT NULL CONSTRAINT models_are_short CHECK (length(model) BETWEEN 1 AND 200),
    revision text NOT NULL DEFAULT '' CONSTRAINT revisions_are_short CHECK (length(revision) <= 200),
    created_at timestamptz NOT NULL,
    created_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, model_version_id),
    CONSTRAINT one_version_per_revision UNIQUE (workspace_id, provider, model, revision)
);
SELECT app.protect('datalane.agent_models', 'append', verbs => 'SELECT');

-- The digest is that of the schema as the database writes it, so the order of its keys makes no other version.
CREATE TABLE datalane.agent_output_schemas (
    workspace_id uuid NOT NULL,
    output_schema_version_id uuid NOT NULL,
    name text NOT NULL CONSTRAINT names_are_short CHECK (length(name) BETWEEN 1 AND 200),
    version integer NOT NULL CONSTRAINT versions_begin_at_one CHECK (version > 0),
    schema jsonb NOT NULL CONSTRAINT a_schema_is_an_object CHECK (jsonb_typeof(schema) = 'object'),
    schema_sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL,
    created_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, output_schema_version_id),
    CONSTRAINT one_schema_per_version UNIQUE (workspace_id, name, version),
    CONSTRAINT one_version_per_schema UNIQUE (workspace_id, name, schema_sha256),
    CONSTRAINT the_digest_is_the_schemas CHECK (schema_sha256 = sha256(convert_to(schema::text, 'UTF8')))
);
SELECT app.protect('datalane.agent_output_schemas', 'append', verbs => 'SELECT');

-- What a million tokens of a model cost from `effective_at` until the next price. Cached input is a part of the input, reasoning a
-- part of the output; null is the price of the whole. NaN is greater than every number, so what is below it is none.
CREATE TABLE datalane.agent_prices (
    workspace_id uuid NOT NULL,
    price_version_id uuid NOT NULL,
    model_version_id uuid NOT NULL,
    currency text NOT NULL CONSTRAINT a_currency_is_three_capitals CHECK (length(currency) = 3 AND currency ~ '^[A-Z]+$'),
    input_per_million numeric(20, 10) NOT NULL
        CONSTRAINT input_costs_nothing_or_more CHECK (input_per_million >= 0 AND input_per_million < 'NaN'),
    cached_input_per_million numeric(20, 10)
        CONSTRAINT cached_input_costs_nothing_or_more CHECK (cached_input_per_million >= 0 AND cached_input_per_million < 'NaN'),
    output_per_million numeric(20, 10) NOT NULL
        CONSTRAINT output_costs_nothing_or_more CHECK (output_per_million >= 0 AND output_per_million < 'NaN'),
    reasoning_per_million numeric(20, 10)
        CONSTRAINT reasoning_costs_nothing_or_more CHECK (reasoning_per_million >= 0 AND reasoning_per_million < 'NaN'),
    effective_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    created_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, price_version_id),
    CONSTRAINT one_price_begins_at_a_time UNIQUE (workspace_id, model_version_id, effective_at),
    CONSTRAINT no_price_begins_before_it_was_said CHECK (effective_at >= created_at),
    CONSTRAINT prices_are_of_a_model FOREIGN KEY (workspace_id, model_version_id)
        REFERENCES datalane.agent_models (workspace_id, model_version_id)
);
SELECT app.protect('datalane.agent_prices', 'decided', verbs => 'SELECT');

SET LOCAL ROLE datalane_definer;

-- The exact cost of a call: cached input is counted within the input, reasoning within the output, as OpenTelemetry counts them.
-- Null, and never 0, where the input, the output or a price of them is not known, or where the parts are more than the whole.
-- `datalane.agents.costs` says the same in Python; a test compares the two.
CREATE FUNCTION datalane.agent_cost(
    input_tokens bigint, cached_input_tokens bigint, output_tokens bigint, reasoning_tokens bigint,
    input_per_million numeric, cached_input_per_million numeric, output_per_million numeric, reasoning_per_million numeric)
RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN coalesce(cached_input_tokens, 0) BETWEEN 0 AND input_tokens
            AND coalesce(reasoning_tokens, 0) BETWEEN 0 AND output_tokens
        THEN ((input_tokens - coalesce(cached_input_tokens, 0)) * input_per_million
            + coalesce(cached_input_tokens, 0) * coalesce(cached_input_per_million, input_per_million)
            + (output_tokens - coalesce(reasoning_tokens, 0)) * output_per_million
            + coalesce(reasoning_tokens, 0) * coalesce(reasoning_per_million, output_per_million)) * 0.000001
    END;
GRANT EXECUTE ON FUNCTION datalane.agent_cost(bigint, bigint, bigint, bigint, numeric, numeric, numeric, numeric) TO datalane_app;

-- The price of a model that is in force at a moment: the last one that began by then. Null where none had begun. No price begins
-- before it was said, so one that is said later changes no answer about the past.
CREATE FUNCTION datalane.agent_price_at(model_version_id uuid, at timestamptz)
RETURNS uuid LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT p.price_version_id FROM datalane.agent_prices p
    WHERE p.workspace_id = app.workspace_id() AND p.model_version_id = agent_price_at.model_version_id
      AND p.effective_at <= agent_price_at.at
    ORDER BY p.effective_at DESC LIMIT 1
$$;
GRANT EXECUTE ON FUNCTION datalane.agent_price_at(uuid, timestamptz) TO datalane_app;

SET LOCAL ROLE datalane_owner;
