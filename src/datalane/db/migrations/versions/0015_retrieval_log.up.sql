-- What was asked through the lane's service, and how that went. It does not say by whom: everybody in the workspace reads it.
CREATE TABLE datalane.retrieval_log (
    workspace_id uuid NOT NULL,
    query_id uuid NOT NULL,
    question text NOT NULL,
    method text NOT NULL CONSTRAINT method_is_known CHECK (method IN ('semantic', 'keyword', 'hybrid')),
    filtered boolean NOT NULL,
    found integer NOT NULL,
    best_score double precision,
    missed boolean NOT NULL,
    embedding_model_version text,
    milliseconds double precision NOT NULL,
    asked_at timestamptz NOT NULL,
    correlation_id text NOT NULL,
    PRIMARY KEY (workspace_id, query_id)
) PARTITION BY RANGE (query_id);
SELECT app.protect('datalane.retrieval_log', 'log', verbs => 'SELECT, INSERT');
SELECT app.add_partitions('datalane.retrieval_log', now() - interval '1 month', 5);

-- Keep what was asked, also by a viewer. Answers the row's id.
SET LOCAL ROLE datalane_definer;
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
