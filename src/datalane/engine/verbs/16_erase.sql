-- Erasing the values of audit records. The rows stay, so the chain stays whole; a record says which ones lost theirs.

-- Erase the details of up to 1,000 records. Records of erasing keep theirs. Answers how many lost theirs. Not granted:
-- also for the verb that will erase a whole workspace.
CREATE OR REPLACE FUNCTION datalane.erase_audit_details_for(
    workspace uuid, actor uuid, correlation text, audit_ids uuid[], reason text)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    erased uuid[];
BEGIN
    IF cardinality(audit_ids) > 1000 THEN
        RAISE EXCEPTION 'at most 1000 records a call, these are %', cardinality(audit_ids) USING ERRCODE = 'DL413';
    END IF;
    IF coalesce(length(reason), 0) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'erasing takes a reason of 1 to 200 characters' USING ERRCODE = 'DL400';
    END IF;
    WITH gone AS (
        DELETE FROM datalane.audit_details d USING datalane.audit_log a
        WHERE d.workspace_id = workspace AND d.audit_id = ANY (audit_ids)
          AND a.workspace_id = workspace AND a.audit_id = d.audit_id AND a.action <> 'audit.details_erased'
        RETURNING d.audit_id)
    SELECT array_agg(gone.audit_id ORDER BY gone.audit_id) INTO erased FROM gone;
    IF erased IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM datalane.audit_for(workspace, actor, correlation, 'audit.details_erased', 'audit', NULL, NULL,
                               jsonb_build_object('audit_ids', to_jsonb(erased), 'reason', reason));
    RETURN cardinality(erased);
END $$;

-- Erase the details of these records of the current workspace.
CREATE OR REPLACE FUNCTION datalane.erase_audit_details(audit_ids uuid[], reason text)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM datalane.require_rank(4);
    RETURN datalane.erase_audit_details_for(app.workspace_id(), app.actor_id(), app.correlation_id(), audit_ids, reason);
END $$;

-- Erase the details of every record about a person: those whose resource is the person, and those whose values name
-- the person's id or one of `mentions` (an address, a name).
CREATE OR REPLACE FUNCTION datalane.erase_person_from_audit(person uuid, mentions text[], reason text)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    named text[]; batch uuid[]; erased integer := 0;
BEGIN
    PERFORM datalane.require_rank(4);
    IF person IS NULL OR '' = ANY (mentions) THEN
        RAISE EXCEPTION 'name a person; a mention must not be empty' USING ERRCODE = 'DL400';
    END IF;
    SELECT array_agg(substr(to_json(mention)::text, 2, length(to_json(mention)::text) - 2)) INTO named
    FROM unnest(mentions || person::text) AS mention WHERE mention IS NOT NULL;
    LOOP
        SELECT array_agg(found.audit_id) INTO batch FROM (
            SELECT d.audit_id FROM datalane.audit_details d
            JOIN datalane.audit_log a ON a.workspace_id = d.workspace_id AND a.audit_id = d.audit_id
            WHERE d.workspace_id = app.workspace_id() AND a.action <> 'audit.details_erased'
              AND (a.resource_id = person::text OR EXISTS (
                  SELECT FROM unnest(named) AS one WHERE strpos(concat(d.before::text, ' ', d.after::text), one) > 0))
            LIMIT 1000) AS found;
        EXIT WHEN batch IS NULL;
        erased := erased + datalane.erase_audit_details_for(
            app.workspace_id(), app.actor_id(), app.correlation_id(), batch, reason);
    END LOOP;
    RETURN erased;
END $$;
