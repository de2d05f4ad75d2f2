DROP TABLE datalane.agent_evaluation_results;
DROP TABLE datalane.agent_evaluations;
DROP TABLE datalane.agent_dataset_cases;
DROP TABLE datalane.agent_datasets;
