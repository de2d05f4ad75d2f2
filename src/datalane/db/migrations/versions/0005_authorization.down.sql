SET LOCAL ROLE datalane_definer;
DROP FUNCTION datalane.register_permissions;
SET LOCAL ROLE datalane_owner;
DROP TABLE datalane.role_matrix;
