DROP TABLE datalane.shared_views;
DROP TABLE datalane.personal_views;
DROP TABLE datalane.timeline;
DROP TABLE datalane.item_fields;
DROP FUNCTION datalane.hold_fields();
DROP TABLE datalane.field_aliases;
DROP TABLE datalane.field_definitions;
DROP TABLE datalane.item_tags;
DROP TABLE datalane.items;
DROP TABLE datalane.projects;

-- Put a table behind the wall. Classes:
--   tenant  everybody in the workspace reads, member and above writes, admin and above deletes
--   append  everybody in the workspace reads, member and above adds, nobody changes or deletes
--   log     everybody in the workspace reads, only the definer verbs write
--   self    the actor's own rows
--   system  only the definer verbs
--   global  not tenant data (an allow-list that the guard holds); only the definer verbs
-- `verbs` are the privileges of the definer verbs on this table. `operator_columns` are columns without payload that
-- the operator role reads across workspaces.
CREATE OR REPLACE FUNCTION app.protect(target regclass, class text, verbs text DEFAULT NULL, operator_columns text[] DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    own constant text := 'workspace_id = app.workspace_id()';
    written constant text := own || ' AND app.actor_rank() >= 2';
    removed constant text := own || ' AND app.actor_rank() >= 3';
    mine constant text := own || ' AND actor_id = app.actor_id()';
BEGIN
    IF class NOT IN ('tenant', 'append', 'log', 'self', 'system', 'global') THEN
        RAISE EXCEPTION 'unknown policy class % for %', class, target;
    END IF;
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('COMMENT ON TABLE %s IS %L', target, 'policy class: ' || class);
    EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', target);
    IF class = 'tenant' THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO datalane_app', target);
        EXECUTE format('CREATE POLICY app_select ON %s FOR SELECT TO datalane_app USING (%s)', target, own);
        EXECUTE format('CREATE POLICY app_insert ON %s FOR INSERT TO datalane_app WITH CHECK (%s)', target, written);
        EXECUTE format('CREATE POLICY app_update ON %s FOR UPDATE TO datalane_app USING (%s) WITH CHECK (%s)',
                       target, written, written);
        EXECUTE format('CREATE POLICY app_delete ON %s FOR DELETE TO datalane_app USING (%s)', target, removed);
    ELSIF class = 'append' THEN
        EXECUTE format('GRANT SELECT, INSERT ON %s TO datalane_app', target);
        EXECUTE format('CREATE POLICY app_select ON %s FOR SELECT TO datalane_app USING (%s)', target, own);
        EXECUTE format('CREATE POLICY app_insert ON %s FOR INSERT TO datalane_app WITH CHECK (%s)', target, written);
    ELSIF class = 'log' THEN
        EXECUTE format('GRANT SELECT ON %s TO datalane_app', target);
        EXECUTE format('CREATE POLICY app_select ON %s FOR SELECT TO datalane_app USING (%s)', target, own);
    ELSIF class = 'self' THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO datalane_app', target);
        EXECUTE format('CREATE POLICY app_own ON %s TO datalane_app USING (%s) WITH CHECK (%s)', target, mine, mine);
    END IF;
    IF verbs IS NOT NULL THEN
        EXECUTE format('GRANT %s ON %s TO datalane_definer', verbs, target);
        EXECUTE format('CREATE POLICY verbs ON %s TO datalane_definer USING (true) WITH CHECK (true)', target);
    END IF;
    IF operator_columns IS NOT NULL THEN
        EXECUTE format('GRANT SELECT (%s) ON %s TO datalane_operator',
                       (SELECT string_agg(quote_ident(name), ', ') FROM unnest(operator_columns) AS name), target);
        EXECUTE format('CREATE POLICY operator_select ON %s FOR SELECT TO datalane_operator USING (true)', target);
    END IF;
    EXECUTE format('GRANT SELECT ON %s TO datalane_backup', target);
    EXECUTE format('CREATE POLICY backup_select ON %s FOR SELECT TO datalane_backup USING (true)', target);
END $$;
