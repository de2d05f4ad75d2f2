CREATE SCHEMA datalane;
COMMENT ON SCHEMA datalane IS 'Tables of the lane and the verbs over them';
COMMENT ON SCHEMA app IS 'The tenant door: context functions, policy classes, partitions';

GRANT USAGE ON SCHEMA app, datalane
    TO datalane_login, datalane_app, datalane_worker, datalane_definer, datalane_operator, datalane_backup, datalane_maintenance;
GRANT USAGE ON SCHEMA datalane TO datalane_signin;
GRANT CREATE ON SCHEMA datalane TO datalane_definer;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
SET LOCAL ROLE datalane_definer;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
SET LOCAL ROLE datalane_owner;

-- The context. Plain functions over settings: a policy with a subquery would ruin row estimates and is refused by
-- sharded clusters.
CREATE FUNCTION app.workspace_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.workspace_id', true), '')::uuid;
CREATE FUNCTION app.actor_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.actor_id', true), '')::uuid;
CREATE FUNCTION app.correlation_id() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.correlation_id', true), '');
CREATE FUNCTION app.actor_rank() RETURNS integer LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE current_setting('app.actor_role', true)
        WHEN 'viewer' THEN 1 WHEN 'member' THEN 2 WHEN 'admin' THEN 3 WHEN 'owner' THEN 4 WHEN 'system' THEN 4
        ELSE 0 END;

-- A time-ordered UUID (RFC 9562, version 7). PostgreSQL 18 has its own; older servers build one.
DO $do$
BEGIN
    IF current_setting('server_version_num')::integer >= 180000 THEN
        EXECUTE 'CREATE FUNCTION app.uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE RETURN uuidv7()';
    ELSE
        EXECUTE $sql$
            CREATE FUNCTION app.uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
            RETURN encode(set_bit(set_bit(
                overlay(uuid_send(gen_random_uuid())
                        PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                        FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
        $sql$;
    END IF;
END $do$;

-- The smallest version 7 UUID of a moment: the bound of a partition.
CREATE FUNCTION app.uuid7_floor(moment timestamptz) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid;

CREATE FUNCTION app.uuid7_time(id uuid) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
    RETURN to_timestamp(('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0);

-- Put a table behind the wall. Classes:
--   tenant  everybody in the workspace reads, member and above writes, admin and above deletes
--   append  everybody in the workspace reads, member and above adds, nobody changes or deletes
--   log     everybody in the workspace reads, only the definer verbs write
--   self    the actor's own rows
--   system  only the definer verbs
--   global  not tenant data (an allow-list that the guard holds); only the definer verbs
-- `verbs` are the privileges of the definer verbs on this table. `operator_columns` are columns without payload that
-- the operator role reads across workspaces.
CREATE FUNCTION app.protect(target regclass, class text, verbs text DEFAULT NULL, operator_columns text[] DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    own constant text := 'workspace_id = app.workspace_id()';
    written constant text := own || ' AND app.actor_rank() >= 2';
    removed constant text := own || ' AND app.actor_rank() >= 3';
    mine constant text := own || ' AND actor_id = app.actor_id()';
BEGIN
    IF class NOT IN ('tenant', 'append', 'log', 'self', 'system', 'global') THEN
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
        EXECUTE format('CREATE POLICY app_delete ON %s FOR DELETE TO datalane_app USING (%s)', target, removed);
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
COMMENT ON FUNCTION app.protect(regclass, text, text, text[]) IS 'Give a table its policy class';

-- Monthly partitions of a table whose partition key is a version 7 UUID. A partition has no grants: rows are
-- reached through the parent only.
CREATE FUNCTION app.add_partitions(parent regclass, from_month timestamptz, months integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    first timestamptz; made integer := 0; name text; schema_name text; table_name text;
BEGIN
    SELECT n.nspname, c.relname INTO schema_name, table_name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = parent;
    FOR step IN 0 .. months - 1 LOOP
        first := date_trunc('month', from_month, 'UTC') + make_interval(months => step);
        name := table_name || '_' || to_char(first AT TIME ZONE 'UTC', 'YYYYMM');
        CONTINUE WHEN to_regclass(format('%I.%I', schema_name, name)) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I.%I PARTITION OF %s FOR VALUES FROM (%L) TO (%L)', schema_name, name, parent,
                       app.uuid7_floor(first), app.uuid7_floor(first + interval '1 month'));
        EXECUTE format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', schema_name, name);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- Drop the partitions that end before `before`; the answer says how many went.
CREATE FUNCTION app.drop_partitions(parent regclass, before timestamptz)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    child record; dropped integer := 0;
BEGIN
    FOR child IN
        SELECT i.inhrelid::regclass AS name, right(c.relname, 6) AS month
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = parent AND c.relname ~ '_[0-9]{6}$' ORDER BY c.relname
    LOOP
        IF (to_date(child.month, 'YYYYMM') + interval '1 month') AT TIME ZONE 'UTC' <= before THEN
            EXECUTE format('DROP TABLE %s', child.name);
            dropped := dropped + 1;
        END IF;
    END LOOP;
    RETURN dropped;
END $$;

GRANT EXECUTE ON FUNCTION app.workspace_id(), app.actor_id(), app.correlation_id(), app.actor_rank(), app.uuid7(),
    app.uuid7_floor(timestamptz), app.uuid7_time(uuid)
    TO datalane_app, datalane_definer, datalane_worker, datalane_operator, datalane_backup, datalane_maintenance;
SELECT app.protect('app.schema_version', 'global');
CREATE POLICY owner_writes ON app.schema_version TO datalane_owner USING (true) WITH CHECK (true);
GRANT SELECT ON app.schema_version TO datalane_login, datalane_app, datalane_maintenance;
CREATE POLICY everybody_reads ON app.schema_version
    FOR SELECT TO datalane_login, datalane_app, datalane_maintenance USING (true);
