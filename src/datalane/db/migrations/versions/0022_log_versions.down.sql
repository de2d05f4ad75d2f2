SET LOCAL ROLE datalane_definer;
DROP FUNCTION datalane.log_retrieval(
    text, text, boolean, integer, double precision, boolean, text, double precision, text, double precision, uuid, text, timestamptz);

-- As it was.
CREATE FUNCTION datalane.log_retrieval(
    question text, method text, filtered boolean, results integer, best_score double precision, missed boolean,
    embedding_model_version text, milliseconds double precision, now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    logged uuid := app.uuid7();
BEGIN
    PERFORM datalane.require_rank(1);
    IF method NOT IN ('semantic', 'keyword', 'hybrid') THEN
        RAISE EXCEPTION 'a method is semantic, keyword or hybrid, not %', method USING ERRCODE = 'DL400';
    END IF;
    INSERT INTO datalane.retrieval_log (workspace_id, query_id, question, method, filtered, found, best_score, missed,
                                        embedding_model_version, milliseconds, asked_at, correlation_id)
    VALUES (app.workspace_id(), logged, left(question, 8000), method, coalesce(filtered, false), coalesce(results, 0), best_score,
            coalesce(missed, false), embedding_model_version, coalesce(milliseconds, 0), coalesce(now, clock_timestamp()),
            app.correlation_id());
    RETURN logged;
END $$;
REVOKE ALL ON FUNCTION datalane.log_retrieval(text, text, boolean, integer, double precision, boolean, text, double precision, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION datalane.log_retrieval(text, text, boolean, integer, double precision, boolean, text, double precision, timestamptz) TO datalane_app;
SET LOCAL ROLE datalane_owner;
ALTER TABLE datalane.retrieval_log DROP COLUMN datalane_version;
ALTER TABLE datalane.retrieval_log DROP COLUMN calibration_id;
ALTER TABLE datalane.retrieval_log DROP COLUMN keyword_weight;
ALTER TABLE datalane.retrieval_log DROP COLUMN search_language;
