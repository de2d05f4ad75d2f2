-- Seals: the audit log of each workspace as a chain of hashes, in batches.
--
-- A row's place is (recorded_xid, audit_id). Rows are taken from below the snapshot's xmin only: every transaction with
-- a smaller id has ended, so nothing can commit into a place that a seal has passed. Writers know nothing of seals.

CREATE OR REPLACE FUNCTION datalane.audit_row_hash(entry datalane.audit_log)
RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    RETURN sha256(datalane.framed_text('datalane.audit_log.1') || datalane.framed(uuid_send((entry).workspace_id))
        || datalane.framed(uuid_send((entry).audit_id)) || datalane.framed_moment((entry).occurred_at)
        || datalane.framed(uuid_send((entry).actor_id)) || datalane.framed_text((entry).action)
        || datalane.framed_text((entry).resource_type) || datalane.framed_text((entry).resource_id)
        || datalane.framed_text((entry).correlation_id) || datalane.framed(int8send((entry).recorded_xid))
        || datalane.framed((entry).details_digest));

-- `manifest` is one row after the other: 16 bytes of its id, 32 of its hash.
CREATE OR REPLACE FUNCTION datalane.audit_seal_hash(
    workspace uuid, seal_no bigint, first_position bigint, last_position bigint, last_xid bigint, last_audit_id uuid,
    manifest bytea, previous_hash bytea, sealed_at timestamptz)
RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    RETURN sha256(datalane.framed_text('datalane.audit_seal.1') || datalane.framed(uuid_send(workspace))
        || datalane.framed(int8send(seal_no)) || datalane.framed(int8send(first_position))
        || datalane.framed(int8send(last_position)) || datalane.framed(int8send(last_xid))
        || datalane.framed(uuid_send(last_audit_id)) || datalane.framed(manifest) || datalane.framed(previous_hash)
        || datalane.framed_moment(sealed_at));

-- Below this id every transaction has ended.
CREATE OR REPLACE FUNCTION datalane.settled_xid()
RETURNS bigint LANGUAGE sql STABLE
    RETURN pg_snapshot_xmin(pg_current_snapshot())::text::bigint;

-- Up to `most` workspaces above `after_workspace` that have rows to seal, in order.
CREATE OR REPLACE FUNCTION datalane.unsealed_workspaces(after_workspace uuid DEFAULT NULL, most integer DEFAULT 100)
RETURNS SETOF uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    here uuid; listed integer := 0; sealed_xid bigint; sealed_id uuid;
BEGIN
    IF after_workspace IS NULL THEN
        SELECT a.workspace_id INTO here FROM datalane.audit_log a ORDER BY a.workspace_id LIMIT 1;
    ELSE
        SELECT a.workspace_id INTO here FROM datalane.audit_log a
        WHERE a.workspace_id > after_workspace ORDER BY a.workspace_id LIMIT 1;
    END IF;
    WHILE here IS NOT NULL AND listed < most LOOP
        SELECT s.last_xid, s.last_audit_id INTO sealed_xid, sealed_id FROM datalane.audit_seals s
        WHERE s.workspace_id = here ORDER BY s.seal_no DESC LIMIT 1;
        IF EXISTS (
            SELECT FROM datalane.audit_log a
            WHERE a.workspace_id = here AND a.recorded_xid < datalane.settled_xid()
              AND (a.recorded_xid, a.audit_id)
                  > (coalesce(sealed_xid, 0), coalesce(sealed_id, '00000000-0000-0000-0000-000000000000')))
        THEN
            listed := listed + 1;
            RETURN NEXT here;
        END IF;
        SELECT a.workspace_id INTO here FROM datalane.audit_log a
        WHERE a.workspace_id > here ORDER BY a.workspace_id LIMIT 1;
    END LOOP;
END $$;

-- Seal the next `most` rows of a workspace. Answers how many: 0 when there are none, or another sealer was faster.
CREATE OR REPLACE FUNCTION datalane.seal_audit(workspace uuid, most integer DEFAULT 1000, now timestamptz DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    last record; batch record; at constant timestamptz := coalesce(now, clock_timestamp());
BEGIN
    SELECT coalesce(max(s.seal_no), 0) AS seal_no, coalesce(max(s.last_position), 0) AS position,
           coalesce(max(s.last_xid), 0) AS xid,
           coalesce((array_agg(s.last_audit_id))[1], '00000000-0000-0000-0000-000000000000') AS audit_id,
           coalesce((array_agg(s.seal_hash))[1], decode(repeat('00', 32), 'hex')) AS hash
    INTO last FROM (SELECT s.seal_no, s.last_position, s.last_xid, s.last_audit_id, s.seal_hash FROM datalane.audit_seals s
                    WHERE s.workspace_id = workspace ORDER BY s.seal_no DESC LIMIT 1) AS s;
    SELECT count(*)::integer AS size,
           string_agg(uuid_send(entry.audit_id) || entry.hash, ''::bytea ORDER BY entry.recorded_xid, entry.audit_id) AS manifest,
           max(entry.recorded_xid) AS xid,
           (array_agg(entry.audit_id ORDER BY entry.recorded_xid DESC, entry.audit_id DESC))[1] AS audit_id
    INTO batch FROM (
        SELECT a.recorded_xid, a.audit_id, datalane.audit_row_hash(a) AS hash FROM datalane.audit_log a
        WHERE a.workspace_id = workspace AND a.recorded_xid < datalane.settled_xid()
          AND (a.recorded_xid, a.audit_id) > (last.xid, last.audit_id)
        ORDER BY a.recorded_xid, a.audit_id LIMIT most) AS entry;
    IF batch.size = 0 THEN
        RETURN 0;
    END IF;
    INSERT INTO datalane.audit_seals (workspace_id, seal_no, first_position, last_position, last_xid, last_audit_id, manifest,
                                      previous_hash, seal_hash, sealed_at)
    VALUES (workspace, last.seal_no + 1, last.position + 1, last.position + batch.size, batch.xid, batch.audit_id,
            batch.manifest, last.hash,
            datalane.audit_seal_hash(workspace, last.seal_no + 1, last.position + 1, last.position + batch.size, batch.xid,
                                     batch.audit_id, batch.manifest, last.hash, at), at)
    ON CONFLICT (workspace_id, seal_no) DO NOTHING;
    RETURN CASE WHEN FOUND THEN batch.size ELSE 0 END;
END $$;
