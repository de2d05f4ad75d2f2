ALTER TABLE datalane.chunks DROP COLUMN heading;
