DROP TABLE datalane.document_sources;
