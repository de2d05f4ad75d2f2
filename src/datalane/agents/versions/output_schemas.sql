-- name: lock_name(workspace_id, name)$
-- Versions of one name are numbered in turn.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws('/', :workspace_id::uuid, :name::text), 302));

-- name: find_schema(workspace_id, name, schema)^
-- The version that has this schema, whatever the order of its keys.
SELECT output_schema_version_id, name, version, encode(schema_sha256, 'hex') AS sha256, created_at, created_by_actor_id
FROM datalane.agent_output_schemas
WHERE workspace_id = :workspace_id AND name = :name AND schema_sha256 = sha256(convert_to((:schema::jsonb)::text, 'UTF8'));

-- name: add_schema(workspace_id, output_schema_version_id, name, schema, now, actor_id)!
-- The next version, unless another one has the schema or the number.
INSERT INTO datalane.agent_output_schemas (workspace_id, output_schema_version_id, name, version, schema, schema_sha256, created_at, created_by_actor_id)
SELECT :workspace_id::uuid, :output_schema_version_id::uuid, :name::text,
       (SELECT coalesce(max(s.version), 0) + 1 FROM datalane.agent_output_schemas s WHERE s.workspace_id = :workspace_id AND s.name = :name),
       :schema::jsonb, sha256(convert_to((:schema::jsonb)::text, 'UTF8')), :now::timestamptz, :actor_id::uuid
ON CONFLICT DO NOTHING;

-- name: get_schema(workspace_id, output_schema_version_id)^
-- One version with its schema.
SELECT output_schema_version_id, name, version, encode(schema_sha256, 'hex') AS sha256, schema AS json_schema, created_at, created_by_actor_id
FROM datalane.agent_output_schemas WHERE workspace_id = :workspace_id AND output_schema_version_id = :output_schema_version_id;

-- name: list_schemas(workspace_id, name, before, page_size)
-- Versions, the newest first.
SELECT output_schema_version_id, name, version, encode(schema_sha256, 'hex') AS sha256, created_at, created_by_actor_id
FROM datalane.agent_output_schemas
WHERE workspace_id = :workspace_id AND (:before::uuid IS NULL OR output_schema_version_id < :before)
  AND (:name::text IS NULL OR name = :name)
ORDER BY output_schema_version_id DESC LIMIT :page_size;
