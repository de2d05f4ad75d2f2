SET LOCAL ROLE datalane_definer;
DROP FUNCTION datalane.forget_connector_history;
SET LOCAL ROLE datalane_owner;

DROP TABLE datalane.connector_history;
DROP TABLE datalane.connectors;
