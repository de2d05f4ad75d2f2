DROP TABLE datalane.audit_seals;
