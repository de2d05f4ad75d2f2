SET LOCAL ROLE datalane_definer;
DROP FUNCTION datalane.record_span_refusals;
DROP FUNCTION datalane.record_agent_moderation;
SET LOCAL ROLE datalane_owner;
REVOKE UPDATE (error_message) ON datalane.agent_transitions FROM datalane_definer;
DROP TABLE datalane.agent_moderations;
