-- name: list_relations(schemas)
-- Tables and views of the schemas of the lane and of `schemas`, and every table elsewhere that has a workspace_id.
SELECT c.oid::bigint AS oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
       n.nspname::text AS schema, c.relkind::text AS kind, pg_get_userbyid(c.relowner)::text AS owner,
       c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced, c.relispartition AS partition,
       obj_description(c.oid, 'pg_class') AS comment, coalesce(c.reloptions, '{}') AS options,
       format_type(w.atttypid, w.atttypmod) AS workspace_type, coalesce(w.attnotnull, false) AS workspace_required,
       ARRAY(SELECT a.attname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND t.typtype = 'e') AS enum_columns
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute w ON w.attrelid = c.oid AND w.attname = 'workspace_id' AND NOT w.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT starts_with(n.nspname, 'pg_') AND n.nspname <> 'information_schema'
  AND (n.nspname = ANY(:schemas::text[]) OR (w.attname IS NOT NULL AND c.relkind IN ('r', 'p', 'm', 'f')))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 2;

-- name: list_policies()
SELECT p.polrelid::bigint AS oid, p.polname::text AS name, p.polcmd::text AS command, p.polpermissive AS permissive,
       ARRAY(SELECT CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r)::text END FROM unnest(p.polroles) AS r) AS roles,
       pg_get_expr(p.polqual, p.polrelid) AS using, pg_get_expr(p.polwithcheck, p.polrelid) AS with_check,
       coalesce(p.polqual::text, '') ~ 'SUBLINK' OR coalesce(p.polwithcheck::text, '') ~ 'SUBLINK' AS subquery
FROM pg_policy p ORDER BY p.polrelid, p.polname;

-- name: list_indexes()
-- Keys in order; an expression is an empty name. `key` says what the index enforces.
SELECT i.indrelid::bigint AS oid, c.relname::text AS name, i.indisprimary AS is_primary, i.indisunique AS is_unique,
       i.indpred IS NOT NULL AS partial, i.indisvalid AS valid,
       ARRAY(SELECT coalesce(a.attname::text, '') FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place)
             LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number > 0
             WHERE k.place <= i.indnkeyatts
             ORDER BY k.place) AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid ORDER BY i.indrelid, c.relname;

-- name: list_foreign_keys()
SELECT f.conrelid::bigint AS oid, f.conname::text AS name, f.confrelid::bigint AS target,
       quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS target_name,
       ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.number ORDER BY k.place) AS columns,
       ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.number ORDER BY k.place) AS referenced
FROM pg_constraint f JOIN pg_class c ON c.oid = f.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE f.contype = 'f' AND f.conparentid = 0 ORDER BY f.conrelid, f.conname;

-- name: list_triggers()
SELECT t.tgrelid::bigint AS oid, t.tgname::text AS name FROM pg_trigger t WHERE NOT t.tgisinternal
UNION ALL
SELECT r.ev_class::bigint, r.rulename::text FROM pg_rewrite r WHERE r.rulename <> '_RETURN'
ORDER BY 1, 2;

-- name: list_grants()
-- Privileges of a whole relation and, with `on_column`, of single columns. The owner's own are left out.
SELECT c.oid::bigint AS oid, CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee)::text END AS grantee,
       a.privilege_type::text AS privilege, g.on_column
FROM pg_class c
CROSS JOIN LATERAL (
    SELECT c.relacl AS acl, false AS on_column
    UNION ALL
    SELECT t.attacl, true FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL AND NOT t.attisdropped
) g
CROSS JOIN LATERAL aclexplode(g.acl) a
WHERE a.grantee <> c.relowner
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;

-- name: list_functions(schemas)
SELECT quote_ident(n.nspname) || '.' || quote_ident(p.proname) AS name, n.nspname::text AS schema,
       pg_get_userbyid(p.proowner)::text AS owner, p.prosecdef AS definer, coalesce(p.proconfig, '{}') AS settings,
       has_function_privilege('public', p.oid, 'EXECUTE') AS public
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = ANY(:schemas::text[])
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
ORDER BY 1;

-- name: list_enums(schemas)
SELECT quote_ident(n.nspname) || '.' || quote_ident(t.typname) AS name
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype = 'e' AND n.nspname = ANY(:schemas::text[]) ORDER BY 1;

-- name: list_roles(names)
SELECT r.rolname::text AS name, r.rolsuper AS superuser, r.rolbypassrls AS bypasses, r.rolinherit AS inherits
FROM pg_roles r WHERE r.rolname = ANY(:names::text[]) ORDER BY 1;
