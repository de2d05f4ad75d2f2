DROP FUNCTION datalane.postpone_job;
DROP FUNCTION datalane.hold_embedding_models;
DROP TABLE datalane.embedding_models;
