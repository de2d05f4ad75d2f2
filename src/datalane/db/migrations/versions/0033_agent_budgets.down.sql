SET LOCAL ROLE datalane_definer;
DROP FUNCTION datalane.write_agent_steps(uuid, uuid, timestamptz, jsonb, timestamptz);
ALTER FUNCTION datalane.store_agent_steps(uuid, uuid, timestamptz, jsonb, timestamptz) RENAME TO write_agent_steps;
DROP FUNCTION datalane.count_agent_usage(uuid, uuid, integer, timestamptz);
SET LOCAL ROLE datalane_owner;
DROP TABLE datalane.agent_usage;
DROP TABLE datalane.agent_budgets;
