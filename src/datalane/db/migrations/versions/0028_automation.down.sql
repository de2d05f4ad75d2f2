DROP POLICY admins_kinds_changed ON datalane.job_schedules;
DROP POLICY admins_kinds_added ON datalane.job_schedules;
DROP POLICY admins_kinds_changed ON datalane.subscriptions;
DROP POLICY admins_kinds_added ON datalane.subscriptions;
DROP TABLE datalane.automation_runs;
DROP TABLE datalane.automation_switches;
DROP TABLE datalane.automation_rule_versions;
DROP TABLE datalane.automation_rules;
