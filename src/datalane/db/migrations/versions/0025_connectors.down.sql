DROP TABLE datalane.connector_history;
DROP TABLE datalane.connectors;
