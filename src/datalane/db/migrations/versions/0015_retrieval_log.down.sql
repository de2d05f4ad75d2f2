DROP FUNCTION datalane.log_retrieval;
DROP TABLE datalane.retrieval_log;
