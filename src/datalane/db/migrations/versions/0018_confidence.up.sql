-- Put a table behind the wall. Classes:
--   tenant  everybody in the workspace reads, member and above writes, admin and above deletes
--   managed everybody in the workspace reads, admin and above writes and deletes
--   append  everybody in the workspace reads, member and above adds, nobody changes or deletes
--   decided everybody in the workspace reads, admin and above adds, nobody changes or deletes
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
    managed constant text := own || ' AND app.actor_rank() >= 3';
    mine constant text := own || ' AND actor_id = app.actor_id()';
BEGIN
    IF class NOT IN ('tenant', 'managed', 'append', 'decided', 'log', 'self', 'system', 'global') THEN
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
    ELSIF class = 'decided' THEN
        EXECUTE format('GRANT SELECT, INSERT ON %s TO datalane_app', target);
        EXECUTE format('CREATE POLICY app_select ON %s FOR SELECT TO datalane_app USING (%s)', target, own);
        EXECUTE format('CREATE POLICY app_insert ON %s FOR INSERT TO datalane_app WITH CHECK (%s)', target, managed);
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

-- How retrieval scores become confidences, as learned from the judged results of a run. What was learned is a measurement:
-- nobody changes it afterwards, and of several for one way to search the newest counts.
CREATE TABLE datalane.confidence_calibrations (
    workspace_id uuid NOT NULL,
    calibration_id uuid NOT NULL,
    run_id uuid NOT NULL,
    method text NOT NULL CONSTRAINT method_is_known CHECK (method IN ('semantic', 'keyword', 'hybrid')),
    keyword_weight double precision,
    embedding_model_version text,
    scores double precision[] NOT NULL,
    confidences double precision[] NOT NULL,
    queries integer NOT NULL,
    results integer NOT NULL,
    calibration_error double precision NOT NULL,
    brier_score double precision NOT NULL,
    base_brier_score double precision NOT NULL,
    bands jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, calibration_id),
    FOREIGN KEY (workspace_id, run_id) REFERENCES datalane.evaluation_runs (workspace_id, run_id),
    CONSTRAINT a_curve_has_points CHECK (cardinality(scores) > 0 AND cardinality(scores) = cardinality(confidences)),
    CONSTRAINT scores_are_numbers CHECK ('-Infinity' < ALL (scores) AND 'Infinity' > ALL (scores)),
    CONSTRAINT confidences_are_fractions CHECK (0 <= ALL (confidences) AND 1 >= ALL (confidences))
);
CREATE INDEX confidence_calibrations_by_method ON datalane.confidence_calibrations (workspace_id, method, calibration_id);
SELECT app.protect('datalane.confidence_calibrations', 'decided');

-- By which calibration a citation has its confidence; null where it is the caller's own.
ALTER TABLE datalane.citations ADD COLUMN calibration_id uuid;

-- What was decided about citations: of one the last decision counts. `reference` names the outcome where it was moderated.
CREATE TABLE datalane.citation_moderations (
    workspace_id uuid NOT NULL,
    moderation_id uuid NOT NULL,
    citation_id uuid NOT NULL,
    ordinal integer NOT NULL,
    outcome text NOT NULL CONSTRAINT outcome_is_known CHECK (outcome IN ('suppressed', 'restored')),
    category text CONSTRAINT a_category_is_short CHECK (char_length(category) BETWEEN 1 AND 100),
    reason text CONSTRAINT a_reason_is_short CHECK (char_length(reason) <= 2000),
    reference text CONSTRAINT a_reference_is_short CHECK (char_length(reference) <= 200),
    created_at timestamptz NOT NULL,
    actor_id uuid NOT NULL,
    correlation_id text NOT NULL,
    PRIMARY KEY (workspace_id, moderation_id),
    FOREIGN KEY (workspace_id, citation_id) REFERENCES datalane.citations (workspace_id, citation_id),
    CONSTRAINT decisions_are_in_turn UNIQUE (workspace_id, citation_id, ordinal),
    CONSTRAINT suppression_has_a_category CHECK ((outcome = 'suppressed') = (category IS NOT NULL))
);
SELECT app.protect('datalane.citation_moderations', 'decided');
