DROP TABLE datalane.feedback;
