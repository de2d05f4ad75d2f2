-- Each query answers a name and its definition, for the schemas of the lane. Months that maintenance makes and drops
-- are left out. Runs with an empty search_path, so that every definition names its schemas.

-- name: list_schemas(schemas)
SELECT n.nspname::text AS name, pg_get_userbyid(n.nspowner)::text || ' ' || coalesce((
    SELECT string_agg(g.line, ', ' ORDER BY g.line)
    FROM (SELECT CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee)::text END || ' ' || a.privilege_type
          FROM aclexplode(n.nspacl) a) AS g (line)), '') AS definition
FROM pg_namespace n WHERE n.nspname = ANY(:schemas::text[]) ORDER BY 1;

-- name: list_tables(schemas)
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
       concat_ws(' ', c.relkind, pg_get_userbyid(c.relowner), c.relpersistence,
                 CASE WHEN c.relrowsecurity THEN 'rls' END, CASE WHEN c.relforcerowsecurity THEN 'forced' END,
                 (SELECT string_agg(o, ' ' ORDER BY o) FROM unnest(c.reloptions) AS o),
                 pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid), obj_description(c.oid, 'pg_class')) AS definition
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(:schemas::text[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  AND NOT (c.relispartition AND c.relname ~ '_[0-9]{6}$') ORDER BY 1;

-- name: list_columns(schemas)
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) || '.' || quote_ident(a.attname) AS name,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'NOT NULL' END,
                 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), nullif(a.attidentity, ''), nullif(a.attgenerated, ''),
                 'STORAGE ' || a.attstorage::text) AS definition
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE n.nspname = ANY(:schemas::text[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped
  AND NOT (c.relispartition AND c.relname ~ '_[0-9]{6}$') ORDER BY 1;

-- name: list_constraints(schemas)
-- NOT NULL is told by the columns: only newer servers have it as a constraint.
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) || '.' || quote_ident(k.conname) AS name,
       pg_get_constraintdef(k.oid) AS definition
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(:schemas::text[]) AND k.contype <> 'n'
  AND NOT (c.relispartition AND c.relname ~ '_[0-9]{6}$')
  AND NOT EXISTS (SELECT FROM pg_class t WHERE t.oid = k.confrelid AND t.relispartition AND t.relname ~ '_[0-9]{6}$')
ORDER BY 1;

-- name: list_indexes(schemas)
-- Without those that the maintenance process makes for large workspaces.
SELECT quote_ident(n.nspname) || '.' || quote_ident(x.relname) AS name,
       pg_get_indexdef(x.oid) || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END AS definition
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = x.relnamespace
WHERE n.nspname = ANY(:schemas::text[]) AND NOT (c.relispartition AND c.relname ~ '_[0-9]{6}$')
  AND x.relname !~ '^chunk_vectors_own_[0-9a-f]{16}$' ORDER BY 1;

-- name: list_policies(schemas)
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) || '.' || quote_ident(p.polname) AS name,
       concat_ws(' ', p.polcmd, CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END, 'TO', (
           SELECT string_agg(g.line, ', ' ORDER BY g.line)
           FROM (SELECT CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r)::text END
                 FROM unnest(p.polroles) AS r) AS g (line)),
           'USING ' || pg_get_expr(p.polqual, p.polrelid), 'WITH CHECK ' || pg_get_expr(p.polwithcheck, p.polrelid)) AS definition
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(:schemas::text[]) ORDER BY 1;

-- name: list_grants(schemas)
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
       || coalesce('.' || quote_ident(g.on_column), '') || ' to '
       || CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee)::text END AS name,
       string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ', ' ORDER BY a.privilege_type) AS definition
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT c.relacl AS acl, NULL::name AS on_column
    UNION ALL
    SELECT t.attacl, t.attname FROM pg_attribute t
    WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL AND NOT t.attisdropped
) g
CROSS JOIN LATERAL aclexplode(g.acl) a
WHERE n.nspname = ANY(:schemas::text[]) AND a.grantee <> c.relowner
  AND NOT (c.relispartition AND c.relname ~ '_[0-9]{6}$')
GROUP BY 1 ORDER BY 1;

-- name: list_functions(schemas)
-- The body as written, or as the server tells it back. Who may call it is a part of it.
SELECT quote_ident(n.nspname) || '.' || quote_ident(p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS name,
       pg_get_functiondef(p.oid) || E'\nOWNER ' || pg_get_userbyid(p.proowner) || E'\nEXECUTE '
       || coalesce((SELECT string_agg(g.line, ', ' ORDER BY g.line)
                    FROM (SELECT CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee)::text END
                          FROM aclexplode(p.proacl) a WHERE a.grantee <> p.proowner) AS g (line)),
                   CASE WHEN p.proacl IS NULL THEN 'public' ELSE '' END) AS definition
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = ANY(:schemas::text[]) AND p.prokind IN ('f', 'p') ORDER BY 1;

-- name: list_views(schemas)
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, pg_get_viewdef(c.oid) AS definition
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(:schemas::text[]) AND c.relkind IN ('v', 'm') ORDER BY 1;

-- name: list_triggers(schemas)
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) || '.' || quote_ident(t.tgname) AS name,
       pg_get_triggerdef(t.oid) AS definition
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(:schemas::text[]) AND NOT t.tgisinternal ORDER BY 1;

-- name: list_types(schemas)
SELECT quote_ident(n.nspname) || '.' || quote_ident(t.typname) AS name, t.typtype::text AS definition
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname = ANY(:schemas::text[]) AND t.typtype IN ('e', 'd', 'r') ORDER BY 1;
