DROP TABLE datalane.evaluation_results;
DROP TABLE datalane.evaluation_runs;
