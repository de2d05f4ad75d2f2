DROP FUNCTION datalane.postpone_job;
DROP FUNCTION datalane.hold_embedding_models;
DROP FUNCTION datalane.implicit_embedding_model;
DROP TABLE datalane.embedding_models;
