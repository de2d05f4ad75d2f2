SET LOCAL ROLE datalane_definer;
DROP FUNCTION datalane.agent_price_at;
DROP FUNCTION datalane.agent_cost;
SET LOCAL ROLE datalane_owner;

DROP TABLE datalane.agent_prices;
DROP TABLE datalane.agent_output_schemas;
DROP TABLE datalane.agent_models;
DROP TABLE datalane.agent_prompts;
