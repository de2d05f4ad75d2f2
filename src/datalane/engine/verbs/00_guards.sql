-- What several verbs check.

-- The context must name a workspace and hold at least this rank (viewer 1, member 2, admin 3, owner 4). The rank 5 is the system's alone,
-- which acts for who runs the lane.
CREATE OR REPLACE FUNCTION datalane.require_rank(needed integer)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    IF app.workspace_id() IS NULL THEN
        RAISE EXCEPTION 'no workspace: open the transaction through the tenant door' USING ERRCODE = 'DL403';
    END IF;
    IF needed > 4 AND current_setting('app.actor_role', true) = 'system' THEN
        RETURN;
    ELSIF app.actor_rank() < needed THEN
        RAISE EXCEPTION 'the role may not do this; it takes % or above', (ARRAY['viewer', 'member', 'admin', 'owner', 'the operator of the lane'])[needed]
            USING ERRCODE = 'DL403';
    END IF;
END $$;

-- Lane-wide values that also hold for SQL callers. The lane's own connections state those of its settings that differ
-- from these defaults.
CREATE OR REPLACE FUNCTION datalane.causation_limit() RETURNS integer LANGUAGE sql STABLE
    RETURN coalesce(nullif(current_setting('app.causation_limit', true), '')::integer, 16);

CREATE OR REPLACE FUNCTION datalane.payload_limit() RETURNS bigint LANGUAGE sql STABLE
    RETURN coalesce(nullif(current_setting('app.payload_limit', true), '')::bigint, 262144);

-- Attempts of a job whose enqueuer says nothing of them.
CREATE OR REPLACE FUNCTION datalane.default_attempts() RETURNS integer LANGUAGE sql STABLE
    RETURN coalesce(nullif(current_setting('app.default_attempts', true), '')::integer, 3);

-- Whether `payload` as compact JSON is over the limit. The database's own text has a space after each comma and colon,
-- which do not count; they are looked for only where they decide.
CREATE OR REPLACE FUNCTION datalane.over_payload_limit(payload jsonb)
RETURNS boolean LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT CASE
        WHEN pg_column_size(payload) <= datalane.payload_limit() / 2 OR octet_length(payload::text) <= datalane.payload_limit()
            THEN false
        WHEN octet_length(payload::text) > datalane.payload_limit() * 2 THEN true
        ELSE octet_length(payload::text) - (
            SELECT octet_length(bare) - octet_length(replace(bare, ' ', ''))
            FROM regexp_replace(payload::text, '"(?:[^"\\]|\\.)*"', '', 'g') AS bare) > datalane.payload_limit()
    END
$$;
