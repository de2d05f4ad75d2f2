DROP TABLE datalane.citation_moderations;
ALTER TABLE datalane.citations DROP COLUMN calibration_id;
DROP TABLE datalane.confidence_calibrations;

CREATE OR REPLACE FUNCTION app.protect(target regclass, class text, verbs text DEFAULT NULL, operator_columns text[] DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    own constant text := 'workspace_id = app.workspace_id()';
    written constant text := own || ' AND app.actor_rank() >= 2';
    managed constant text := own || ' AND app.actor_rank() >= 3';
    mine constant text := own || ' AND actor_id = app.actor_id()';
BEGIN
    IF class NOT IN ('tenant', 'managed', 'append', 'log', 'self', 'system', 'global') THEN
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
        EXECUTE format('CREATE POLICY app_delete ON %s FOR DELETE TO datalane_app USING (%s)', target, managed);
    ELSIF class = 'managed' THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO datalane_app', target);
        EXECUTE format('CREATE POLICY app_select ON %s FOR SELECT TO datalane_app USING (%s)', target, own);
        EXECUTE format('CREATE POLICY app_insert ON %s FOR INSERT TO datalane_app WITH CHECK (%s)', target, managed);
        EXECUTE format('CREATE POLICY app_update ON %s FOR UPDATE TO datalane_app USING (%s) WITH CHECK (%s)',
                       target, managed, managed);
        EXECUTE format('CREATE POLICY app_delete ON %s FOR DELETE TO datalane_app USING (%s)', target, managed);
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
