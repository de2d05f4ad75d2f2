SET LOCAL ROLE datalane_definer;
-- As it was.
CREATE OR REPLACE FUNCTION datalane.record_rejection(
    event_type text, source_system text, source_event_id text, ingestion_status text, detail text,
    now timestamptz DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_variable
DECLARE
    recorded uuid := app.uuid7();
BEGIN
    PERFORM datalane.require_rank(2);
    IF ingestion_status NOT IN ('rejected_signature', 'rejected_schema') THEN
        RAISE EXCEPTION 'a rejection is rejected_signature or rejected_schema, not %', ingestion_status USING ERRCODE = 'DL400';
    END IF;
    INSERT INTO datalane.event_ingestion (workspace_id, ingestion_id, event_type, source_system, source_event_id,
                                          ingestion_status, received_at, correlation_id, detail)
    VALUES (app.workspace_id(), recorded, event_type, source_system, source_event_id, ingestion_status,
            coalesce(now, clock_timestamp()), app.correlation_id(), left(detail, 2000));
    RETURN recorded;
END $$;

DROP FUNCTION datalane.forget_held_deliveries;
SET LOCAL ROLE datalane_owner;

DROP TABLE datalane.inbound_held;
DROP TABLE datalane.inbound_seen;
DROP TABLE datalane.inbound_webhooks;
