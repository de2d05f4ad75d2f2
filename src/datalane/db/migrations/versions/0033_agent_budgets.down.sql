DROP TABLE datalane.agent_budgets;
