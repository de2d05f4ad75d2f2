-- One row for each role that may do an action to a resource. What has no row is denied.
CREATE TABLE datalane.role_matrix (
    resource text NOT NULL,
    action text NOT NULL,
    role text NOT NULL CONSTRAINT role_is_known CHECK (role IN ('viewer', 'member', 'admin', 'owner')),
    PRIMARY KEY (resource, action, role)
);
SELECT app.protect('datalane.role_matrix', 'global', verbs => 'SELECT, INSERT, DELETE',
                   operator_columns => '{resource,action,role}');

SET LOCAL ROLE datalane_definer;

-- Make one line of the matrix what the running version says. Repeating it writes nothing.
CREATE FUNCTION datalane.register_permission(resource text, action text, roles text[])
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    DELETE FROM datalane.role_matrix m
    WHERE m.resource = register_permission.resource AND m.action = register_permission.action AND m.role <> ALL (roles);
    INSERT INTO datalane.role_matrix (resource, action, role)
    SELECT register_permission.resource, register_permission.action, role FROM unnest(roles) AS role
    ON CONFLICT (resource, action, role) DO NOTHING;
$$;
REVOKE ALL ON FUNCTION datalane.register_permission(text, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION datalane.register_permission(text, text, text[]) TO datalane_worker;

SET LOCAL ROLE datalane_owner;
