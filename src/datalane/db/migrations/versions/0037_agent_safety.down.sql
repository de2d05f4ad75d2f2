SET LOCAL ROLE datalane_definer;
DROP FUNCTION datalane.record_span_refusals;
DROP FUNCTION datalane.record_agent_moderation;
SET LOCAL ROLE datalane_owner;
DROP TABLE datalane.agent_moderations;
