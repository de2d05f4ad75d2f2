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

-- Make lines of the matrix what the running version says: `leasts` are the lowest roles that may. Repeating it writes
-- nothing. Lines of other programs on the same lane stay.
CREATE FUNCTION datalane.register_permissions(resources text[], actions text[], leasts text[])
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    DELETE FROM datalane.role_matrix m USING unnest(resources, actions, leasts) AS l (resource, action, least)
    WHERE m.resource = l.resource AND m.action = l.action
      AND datalane.role_rank(m.role) < datalane.role_rank(l.least);
    INSERT INTO datalane.role_matrix (resource, action, role)
    SELECT l.resource, l.action, r.role
    FROM unnest(resources, actions, leasts) AS l (resource, action, least)
    CROSS JOIN unnest(ARRAY['viewer', 'member', 'admin', 'owner']) AS r (role)
    WHERE datalane.role_rank(r.role) >= datalane.role_rank(l.least)
    ORDER BY l.resource, l.action, r.role
    ON CONFLICT (resource, action, role) DO NOTHING;
$$;
REVOKE ALL ON FUNCTION datalane.register_permissions(text[], text[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION datalane.register_permissions(text[], text[], text[]) TO datalane_worker;

SET LOCAL ROLE datalane_owner;
