-- name: lock_name(workspace_id, name)$
-- Versions of one name are numbered in turn.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws('/', :workspace_id::uuid, :name::text), 301));

-- name: find_prompt(workspace_id, name, template)^
-- The version that has this template.
SELECT prompt_version_id, name, version, encode(template_sha256, 'hex') AS sha256, created_at, created_by_actor_id
FROM datalane.agent_prompts
WHERE workspace_id = :workspace_id AND name = :name AND template_sha256 = sha256(convert_to(:template::text, 'UTF8'));

-- name: add_prompt(workspace_id, prompt_version_id, name, template, now, actor_id)!
-- The next version, unless another one has the template or the number.
INSERT INTO datalane.agent_prompts (workspace_id, prompt_version_id, name, version, template, template_sha256, created_at, created_by_actor_id)
SELECT :workspace_id::uuid, :prompt_version_id::uuid, :name::text,
       (SELECT coalesce(max(p.version), 0) + 1 FROM datalane.agent_prompts p WHERE p.workspace_id = :workspace_id AND p.name = :name),
       :template::text, sha256(convert_to(:template::text, 'UTF8')), :now::timestamptz, :actor_id::uuid
ON CONFLICT DO NOTHING;

-- name: get_prompt(workspace_id, prompt_version_id)^
-- One version with its template.
SELECT prompt_version_id, name, version, encode(template_sha256, 'hex') AS sha256, template, created_at, created_by_actor_id
FROM datalane.agent_prompts WHERE workspace_id = :workspace_id AND prompt_version_id = :prompt_version_id;

-- name: list_prompts(workspace_id, name, before, page_size)
-- Versions, the newest first.
SELECT prompt_version_id, name, version, encode(template_sha256, 'hex') AS sha256, created_at, created_by_actor_id
FROM datalane.agent_prompts
WHERE workspace_id = :workspace_id AND (:before::uuid IS NULL OR prompt_version_id < :before)
  AND (:name::text IS NULL OR name = :name)
ORDER BY prompt_version_id DESC LIMIT :page_size;
