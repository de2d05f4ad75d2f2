DROP TABLE datalane.data_keys;
