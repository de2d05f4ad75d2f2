SET LOCAL ROLE datalane_definer;

-- The language by whose rules the workspace's texts and questions are cut into words. What is indexed stays as it was
-- cut, so it is said before the first text is.
CREATE FUNCTION datalane.set_search_language(language text, now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    former text; texts numeric;
BEGIN
    PERFORM datalane.require_rank(3);
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_ts_config c
                   WHERE c.cfgnamespace = 'pg_catalog'::regnamespace AND c.cfgname = language) THEN
        RAISE EXCEPTION 'there is no search language of this name; there are %',
            (SELECT string_agg(c.cfgname, ', ' ORDER BY c.cfgname) FROM pg_catalog.pg_ts_config c
             WHERE c.cfgnamespace = 'pg_catalog'::regnamespace) USING ERRCODE = 'DL400';
    END IF;
    PERFORM datalane.lock_workspace(app.workspace_id());
    PERFORM pg_advisory_xact_lock(hashtextextended(app.workspace_id()::text, 9));
    SELECT w.search_language INTO former FROM datalane.workspaces w WHERE w.workspace_id = app.workspace_id();
    IF former = language THEN
        RETURN;
    END IF;
    SELECT sum(t.entries) INTO texts FROM datalane.search_totals t WHERE t.workspace_id = app.workspace_id();
    IF texts > 0 THEN
        RAISE EXCEPTION 'texts of this workspace are indexed as % already (% of them, deleted items among them); make another workspace for texts in %',
            former, texts, language USING ERRCODE = 'DL409';
    END IF;
    UPDATE datalane.workspaces w SET search_language = language WHERE w.workspace_id = app.workspace_id();
    PERFORM datalane.audit_for(
        app.workspace_id(), app.actor_id(), app.correlation_id(), 'workspace.search_language_set', 'workspace',
        app.workspace_id()::text, jsonb_build_object('search_language', former),
        jsonb_build_object('search_language', language), now);
END $$;
REVOKE ALL ON FUNCTION datalane.set_search_language(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION datalane.set_search_language(text, timestamptz) TO datalane_app;

SET LOCAL ROLE datalane_owner;

-- The language to index a text by, as it is and stays until the transaction ends: whoever sets it waits for this lock, and
-- then sees the text. Every statement in here sees what was committed before it began.
CREATE FUNCTION datalane.hold_search_language()
RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(app.workspace_id()::text, 9));
    RETURN (SELECT w.search_language FROM datalane.workspaces w WHERE w.workspace_id = app.workspace_id());
END $$;
REVOKE ALL ON FUNCTION datalane.hold_search_language() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION datalane.hold_search_language() TO datalane_app;
