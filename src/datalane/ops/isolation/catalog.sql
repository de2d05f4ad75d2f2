-- name: tables
SELECT coalesce(json_agg(json_build_object(
    'oid', c.oid, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind, 'comment', obj_description(c.oid, 'pg_class'),
    'owner', pg_get_userbyid(c.relowner), 'secured', c.relrowsecurity, 'forced', c.relforcerowsecurity,
    'parent', (SELECT i.inhparent::regclass::text FROM pg_inherits i WHERE i.inhrelid = c.oid AND c.relispartition),
    'options', coalesce(c.reloptions, '{}'),
    'columns', (
        SELECT coalesce(json_agg(json_build_object(
            'name', a.attname, 'type', format_type(a.atttypid, NULL), 'required', a.attnotnull,
            'filled', a.atthasdef OR a.attidentity <> '', 'generated', a.attgenerated <> '') ORDER BY a.attnum), '[]')
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    'checks', (
        SELECT coalesce(json_agg(json_build_object(
            'name', k.conname, 'says', pg_get_expr(k.conbin, k.conrelid),
            'columns', (SELECT json_agg(a.attname) FROM pg_attribute a
                        WHERE a.attrelid = c.oid AND a.attnum = ANY (k.conkey))) ORDER BY k.conname), '[]')
        FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'),
    'keys', (
        SELECT coalesce(json_agg(json_build_object(
            'name', x.relname, 'primary', i.indisprimary, 'unique', i.indisunique, 'valid', i.indisvalid,
            'where', pg_get_expr(i.indpred, i.indrelid),
            'columns', (SELECT json_agg(a.attname ORDER BY place) FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY
                            AS p (number, place) LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.number))
            ORDER BY x.relname), '[]')
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid),
    'links', (
        SELECT coalesce(json_agg(json_build_object(
            'name', k.conname, 'target', k.confrelid::regclass::text,
            'columns', (SELECT json_agg(a.attname ORDER BY place) FROM unnest(k.conkey) WITH ORDINALITY AS p (number, place)
                        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = p.number),
            'target_columns', (SELECT json_agg(a.attname ORDER BY place) FROM unnest(k.confkey) WITH ORDINALITY
                               AS p (number, place)
                               JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = p.number))
            ORDER BY k.conname), '[]')
        FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0),
    'policies', (
        SELECT coalesce(json_agg(json_build_object(
            'name', p.polname, 'permissive', p.polpermissive,
            'command', CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update'
                                     WHEN 'd' THEN 'delete' ELSE 'all' END,
            'roles', (SELECT json_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(role)::text END)
                      FROM unnest(p.polroles) AS role),
            'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid))
            ORDER BY p.polname), '[]')
        FROM pg_policy p WHERE p.polrelid = c.oid),
    'grants', (
        SELECT coalesce(json_agg(json_build_object(
            'role', CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(g.grantee)::text END,
            'privilege', g.privilege_type, 'column', g.attname) ORDER BY 1::text), '[]')
        FROM (SELECT x.grantee, x.privilege_type, NULL AS attname FROM aclexplode(c.relacl) x
              UNION ALL
              SELECT x.grantee, x.privilege_type, a.attname FROM pg_attribute a CROSS JOIN LATERAL aclexplode(a.attacl) x
              WHERE a.attrelid = c.oid) g
        WHERE g.grantee <> c.relowner),
    'triggers', (SELECT coalesce(json_agg(t.tgname), '[]') FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
    'reads', (SELECT coalesce(json_agg(DISTINCT d.refobjid::regclass::text), '[]')
              FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
              WHERE r.ev_class = c.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> c.oid)
    ) ORDER BY n.nspname, c.relname), '[]')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'public')
  AND :only

-- name: verbs
SELECT coalesce(json_agg(json_build_object(
    'oid', p.oid, 'schema', n.nspname, 'name', p.proname, 'signature', p.oid::regprocedure::text,
    'definer', p.prosecdef, 'owner', pg_get_userbyid(p.proowner), 'settings', coalesce(p.proconfig, '{}'),
    'language', l.lanname, 'source', coalesce(nullif(p.prosrc, ''), pg_get_functiondef(p.oid)),
    'definition', pg_get_functiondef(p.oid),
    'arguments', (
        SELECT coalesce(json_agg(json_build_object(
            'name', coalesce(a.name, ''), 'type', format_type(a.type, NULL),
            'optional', a.place > p.pronargs - p.pronargdefaults) ORDER BY a.place), '[]')
        FROM (SELECT t.type, t.place, (
                  SELECT m.name FROM (
                      SELECT x.name, row_number() OVER (ORDER BY x.place) AS nth
                      FROM unnest(p.proargnames) WITH ORDINALITY AS x (name, place)
                      WHERE p.proargmodes IS NULL OR p.proargmodes[x.place] IN ('i', 'b', 'v')) m
                  WHERE m.nth = t.place) AS name
              FROM unnest(p.proargtypes) WITH ORDINALITY AS t (type, place)) a),
    'callers', (SELECT coalesce(json_agg(DISTINCT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee)::text END),
                                '[]')
                FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
                WHERE x.privilege_type = 'EXECUTE' AND x.grantee <> p.proowner)
    ) ORDER BY n.nspname, p.proname, p.oid), '[]')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
WHERE p.prokind IN ('f', 'p') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'public')
  AND :only

-- name: roles
SELECT json_agg(json_build_object(
    'name', r.rolname, 'superuser', r.rolsuper, 'bypasses', r.rolbypassrls, 'inherits', r.rolinherit,
    'logs_in', r.rolcanlogin, 'makes_roles', r.rolcreaterole, 'makes_databases', r.rolcreatedb,
    'member_of', (SELECT coalesce(json_agg(json_build_object('role', pg_get_userbyid(m.roleid), 'inherits', m.inherit_option,
                                                             'administers', m.admin_option)), '[]')
                  FROM pg_auth_members m WHERE m.member = r.oid),
    'creates_in', (SELECT coalesce(json_agg(n.nspname), '[]') FROM pg_namespace n
                   WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
                     AND EXISTS (SELECT FROM aclexplode(n.nspacl) x WHERE x.grantee IN (r.oid, 0)
                                 AND x.privilege_type = 'CREATE'))) ORDER BY r.rolname)
FROM pg_roles r WHERE r.rolname IN (:names)
