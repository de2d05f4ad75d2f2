DROP TABLE datalane.agent_tool_rule_versions;
DROP TABLE datalane.agent_tool_rules;
DROP TABLE datalane.agent_tool_versions;
DROP TABLE datalane.agent_tools;
