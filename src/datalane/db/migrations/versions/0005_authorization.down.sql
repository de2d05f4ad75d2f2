SET LOCAL ROLE datalane_definer;
DROP FUNCTION datalane.register_permission;
SET LOCAL ROLE datalane_owner;
DROP TABLE datalane.role_matrix;
