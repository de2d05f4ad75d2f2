SET LOCAL ROLE datalane_definer;
DROP FUNCTION datalane.forget_agent_effects;
DROP FUNCTION datalane.forget_agent_runs;
DROP FUNCTION datalane.delete_agent_runs;
DROP FUNCTION datalane.forget_agent_artifacts;
SET LOCAL ROLE datalane_owner;
DROP INDEX datalane.agent_effects_by_time;
DROP INDEX datalane.agent_runs_by_end;
ALTER TABLE datalane.agent_runs DROP COLUMN artifacts_forgotten;
