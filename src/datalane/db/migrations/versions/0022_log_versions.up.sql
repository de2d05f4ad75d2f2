-- What else decided an answer. Null where it had no part in it, and in rows of before.
ALTER TABLE datalane.retrieval_log ADD COLUMN search_language text;
ALTER TABLE datalane.retrieval_log ADD COLUMN keyword_weight double precision;
ALTER TABLE datalane.retrieval_log ADD COLUMN calibration_id uuid;
ALTER TABLE datalane.retrieval_log ADD COLUMN datalane_version text;

-- Keep what was asked, also by a viewer. Answers the row's id.
SET LOCAL ROLE datalane_definer;
DROP FUNCTION datalane.log_retrieval(text, text, boolean, integer, double precision, boolean, text, double precision, timestamptz);
CREATE FUNCTION datalane.log_retrieval(
    question text, method text, filtered boolean, results integer, best_score double precision, missed boolean,
    embedding_model_version text, milliseconds double precision, search_language text DEFAULT NULL,
    keyword_weight double precision DEFAULT NULL, calibration_id uuid DEFAULT NULL, datalane_version text DEFAULT NULL,
    now timestamptz DEFAULT NULL)
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
                                        embedding_model_version, milliseconds, search_language, keyword_weight, calibration_id,
                                        datalane_version, asked_at, correlation_id)
    VALUES (app.workspace_id(), logged, left(question, 8000), method, coalesce(filtered, false), coalesce(results, 0), best_score,
            coalesce(missed, false), embedding_model_version, coalesce(milliseconds, 0), search_language, keyword_weight,
            calibration_id, datalane_version, coalesce(now, clock_timestamp()),
            app.correlation_id());
    RETURN logged;
END $$;
REVOKE ALL ON FUNCTION datalane.log_retrieval(text, text, boolean, integer, double precision, boolean, text, double precision, text, double precision, uuid, text, timestamptz)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION datalane.log_retrieval(text, text, boolean, integer, double precision, boolean, text, double precision, text, double precision, uuid, text, timestamptz)
    TO datalane_app;
SET LOCAL ROLE datalane_owner;
