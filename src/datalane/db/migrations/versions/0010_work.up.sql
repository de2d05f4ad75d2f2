-- Put a table behind the wall. Classes:
--   tenant  everybody in the workspace reads, member and above writes, admin and above deletes
--   managed everybody in the workspace reads, admin and above writes and deletes
--   append  everybody in the workspace reads, member and above adds, nobody changes or deletes
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
    IF class NOT IN ('tenant', 'managed', 'append', 'log', 'self', 'system', 'global') THEN
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

-- Projects and items --------------------------------------------------------------------------------------------

CREATE TABLE datalane.projects (
    workspace_id uuid NOT NULL,
    project_id uuid NOT NULL,
    title text NOT NULL,
    description text NOT NULL DEFAULT '',
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('draft', 'active', 'archived')),
    version bigint NOT NULL DEFAULT 1 CONSTRAINT versions_count_from_one CHECK (version >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    archived_at timestamptz,
    deleted_at timestamptz,
    created_by_actor_id uuid NOT NULL,
    updated_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, project_id),
    CONSTRAINT the_archived_say_when CHECK ((status = 'archived') = (archived_at IS NOT NULL))
);
CREATE INDEX projects_by_update ON datalane.projects (workspace_id, updated_at, project_id) WHERE deleted_at IS NULL;
SELECT app.protect('datalane.projects', 'tenant');

-- `tags` and `metadata` are what a reader gets; item_tags and item_fields say the same in the form that filters use.
CREATE TABLE datalane.items (
    workspace_id uuid NOT NULL,
    item_id uuid NOT NULL,
    project_id uuid,
    title text NOT NULL,
    description text NOT NULL DEFAULT '',
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('draft', 'active', 'archived')),
    priority smallint NOT NULL DEFAULT 0 CONSTRAINT priority_is_0_to_4 CHECK (priority BETWEEN 0 AND 4),
    assignee_id uuid,
    tags text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    version bigint NOT NULL DEFAULT 1 CONSTRAINT versions_count_from_one CHECK (version >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    archived_at timestamptz,
    deleted_at timestamptz,
    created_by_actor_id uuid NOT NULL,
    updated_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, item_id),
    FOREIGN KEY (workspace_id, project_id) REFERENCES datalane.projects (workspace_id, project_id),
    FOREIGN KEY (workspace_id, assignee_id) REFERENCES datalane.memberships (workspace_id, user_id),
    CONSTRAINT the_archived_say_when CHECK ((status = 'archived') = (archived_at IS NOT NULL))
);
-- One for each order, and one for each filter in the default order. `datalane explain` shows what uses them.
-- What a list may be ordered by beside a range of a time is included: the range is read and sorted without its items.
CREATE INDEX items_by_update ON datalane.items (workspace_id, updated_at, item_id) INCLUDE (created_at, priority)
    WHERE deleted_at IS NULL;
CREATE INDEX items_by_creation ON datalane.items (workspace_id, created_at, item_id) INCLUDE (updated_at, priority)
    WHERE deleted_at IS NULL;
CREATE INDEX items_by_priority ON datalane.items (workspace_id, priority, item_id) WHERE deleted_at IS NULL;
CREATE INDEX items_by_status ON datalane.items (workspace_id, status, updated_at, item_id) WHERE deleted_at IS NULL;
CREATE INDEX items_by_project ON datalane.items (workspace_id, project_id, updated_at, item_id) WHERE deleted_at IS NULL;
CREATE INDEX items_by_assignee ON datalane.items (workspace_id, assignee_id, updated_at, item_id) WHERE deleted_at IS NULL;
CREATE INDEX items_by_creator ON datalane.items (workspace_id, created_by_actor_id, updated_at, item_id)
    WHERE deleted_at IS NULL;
CREATE INDEX items_deleted ON datalane.items (workspace_id, updated_at, item_id) WHERE deleted_at IS NOT NULL;
-- What is found in a narrow table is looked up here, and not in the item, to see that it is not deleted.
CREATE INDEX items_live ON datalane.items (workspace_id, item_id) WHERE deleted_at IS NULL;
SELECT app.protect('datalane.items', 'tenant');

-- Operators of arrays and of jsonb are not leakproof, so no index on one is used behind the wall: what is filtered by
-- stands in narrow tables of plain types.
CREATE TABLE datalane.item_tags (
    workspace_id uuid NOT NULL,
    tag text NOT NULL,
    item_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, tag, item_id)
);
SELECT app.protect('datalane.item_tags', 'tenant');
CREATE POLICY app_reindex ON datalane.item_tags FOR DELETE TO datalane_app
    USING (workspace_id = app.workspace_id() AND app.actor_rank() >= 2);

-- Fields of metadata --------------------------------------------------------------------------------------------

-- What a workspace says of a field of its items' metadata. A field that is not defined here holds anything and filters
-- nothing. `index_state` is building while jobs go through the items that were there before: those of `index_build`, so
-- that what is left of an earlier building changes nothing.
CREATE TABLE datalane.field_definitions (
    workspace_id uuid NOT NULL,
    field_id uuid NOT NULL,
    key text NOT NULL,
    type text NOT NULL CONSTRAINT type_is_known CHECK (type IN ('text', 'number', 'boolean', 'date')),
    required boolean NOT NULL DEFAULT false,
    sensitive boolean NOT NULL DEFAULT false,
    index_state text NOT NULL DEFAULT 'none'
        CONSTRAINT index_state_is_known CHECK (index_state IN ('none', 'building', 'ready')),
    index_build uuid,
    version bigint NOT NULL DEFAULT 1 CONSTRAINT versions_count_from_one CHECK (version >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    created_by_actor_id uuid NOT NULL,
    updated_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, field_id),
    CONSTRAINT one_field_per_key UNIQUE (workspace_id, key),
    CONSTRAINT a_building_has_an_id CHECK ((index_state = 'building') = (index_build IS NOT NULL))
);
SELECT app.protect('datalane.field_definitions', 'managed');

-- Keys that a field had before: items written then still hold their values under them.
CREATE TABLE datalane.field_aliases (
    workspace_id uuid NOT NULL,
    key text NOT NULL,
    field_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, key),
    FOREIGN KEY (workspace_id, field_id) REFERENCES datalane.field_definitions (workspace_id, field_id) ON DELETE CASCADE
);
SELECT app.protect('datalane.field_aliases', 'managed');

-- The fields, each with the keys it had before, as they are and stay until the transaction ends: whoever changes one
-- waits for an exclusive lock on the same key. Every statement in here sees what was committed before it began, and so
-- the second one sees what whoever held the lock has changed; one statement with both would not.
CREATE FUNCTION datalane.hold_fields()
RETURNS TABLE (field_id uuid, key text, type text, required boolean, sensitive boolean, index_state text, old_keys text[])
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(app.workspace_id()::text, 2));
    RETURN QUERY
        SELECT d.field_id, d.key, d.type, d.required, d.sensitive, d.index_state,
               ARRAY(SELECT a.key FROM datalane.field_aliases a
                     WHERE a.workspace_id = app.workspace_id() AND a.field_id = d.field_id ORDER BY a.key)
        FROM datalane.field_definitions d WHERE d.workspace_id = app.workspace_id() ORDER BY d.key;
END $$;
REVOKE ALL ON FUNCTION datalane.hold_fields() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION datalane.hold_fields() TO datalane_app;

-- Values of indexed fields. Text and boolean values are text.
CREATE TABLE datalane.item_fields (
    workspace_id uuid NOT NULL,
    field_id uuid NOT NULL,
    item_id uuid NOT NULL,
    text_value text,
    number_value double precision,
    date_value timestamptz,
    PRIMARY KEY (workspace_id, field_id, item_id),
    CONSTRAINT a_field_has_one_value CHECK (num_nonnulls(text_value, number_value, date_value) = 1)
);
CREATE INDEX item_fields_by_text ON datalane.item_fields (workspace_id, field_id, text_value, item_id)
    WHERE text_value IS NOT NULL;
CREATE INDEX item_fields_by_number ON datalane.item_fields (workspace_id, field_id, number_value, item_id)
    WHERE number_value IS NOT NULL;
CREATE INDEX item_fields_by_date ON datalane.item_fields (workspace_id, field_id, date_value, item_id)
    WHERE date_value IS NOT NULL;
SELECT app.protect('datalane.item_fields', 'tenant');
CREATE POLICY app_reindex ON datalane.item_fields FOR DELETE TO datalane_app
    USING (workspace_id = app.workspace_id() AND app.actor_rank() >= 2);

-- Timeline ------------------------------------------------------------------------------------------------------

-- One entry for each version of a thing. `recorded_xid` is the transaction that wrote it: whoever reads below the
-- oldest one that is under way sees entries in an order to which nothing is added later.
CREATE TABLE datalane.timeline (
    workspace_id uuid NOT NULL,
    entry_id uuid NOT NULL,
    entity_type text NOT NULL,
    entity_id uuid NOT NULL,
    entity_version bigint NOT NULL CONSTRAINT versions_count_from_one CHECK (entity_version >= 1),
    action text NOT NULL,
    summary text NOT NULL,
    changes jsonb NOT NULL,
    actor_id uuid NOT NULL,
    correlation_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_xid bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    PRIMARY KEY (workspace_id, entry_id),
    CONSTRAINT one_entry_per_version UNIQUE (workspace_id, entity_type, entity_id, entity_version)
);
CREATE INDEX timeline_in_order ON datalane.timeline (workspace_id, recorded_xid, entry_id);
SELECT app.protect('datalane.timeline', 'append');

-- Saved views ---------------------------------------------------------------------------------------------------

-- A personal view is seen by its maker alone, by a policy and not by a filter, so the two kinds are two tables.
CREATE TABLE datalane.personal_views (
    workspace_id uuid NOT NULL,
    view_id uuid NOT NULL,
    actor_id uuid NOT NULL,
    name text NOT NULL,
    query jsonb NOT NULL,
    version bigint NOT NULL DEFAULT 1 CONSTRAINT versions_count_from_one CHECK (version >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, view_id),
    CONSTRAINT one_personal_view_per_name UNIQUE (workspace_id, actor_id, name)
);
SELECT app.protect('datalane.personal_views', 'self');

CREATE TABLE datalane.shared_views (
    workspace_id uuid NOT NULL,
    view_id uuid NOT NULL,
    name text NOT NULL,
    query jsonb NOT NULL,
    version bigint NOT NULL DEFAULT 1 CONSTRAINT versions_count_from_one CHECK (version >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    created_by_actor_id uuid NOT NULL,
    updated_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, view_id),
    CONSTRAINT one_shared_view_per_name UNIQUE (workspace_id, name)
);
SELECT app.protect('datalane.shared_views', 'tenant');
