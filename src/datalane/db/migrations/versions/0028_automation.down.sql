DROP TABLE datalane.automation_runs;
DROP TABLE datalane.automation_switches;
DROP TABLE datalane.automation_rule_versions;
DROP TABLE datalane.automation_rules;
