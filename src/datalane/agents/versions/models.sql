-- name: find_model(workspace_id, provider, model, revision)^
-- The version of this revision.
SELECT model_version_id, provider, model, revision, created_at, created_by_actor_id FROM datalane.agent_models
WHERE workspace_id = :workspace_id AND provider = :provider AND model = :model AND revision = :revision;

-- name: add_model(workspace_id, model_version_id, provider, model, revision, now, actor_id)!
-- A model, unless it is there. Whoever adds the same one at the same time is waited for.
INSERT INTO datalane.agent_models (workspace_id, model_version_id, provider, model, revision, created_at, created_by_actor_id)
VALUES (:workspace_id, :model_version_id, :provider, :model, :revision, :now, :actor_id)
ON CONFLICT DO NOTHING;

-- name: get_model(workspace_id, model_version_id)^
-- One version.
SELECT model_version_id, provider, model, revision, created_at, created_by_actor_id FROM datalane.agent_models
WHERE workspace_id = :workspace_id AND model_version_id = :model_version_id;

-- name: list_models(workspace_id, provider, model, before, page_size)
-- Versions, the newest first.
SELECT model_version_id, provider, model, revision, created_at, created_by_actor_id FROM datalane.agent_models
WHERE workspace_id = :workspace_id AND (:before::uuid IS NULL OR model_version_id < :before)
  AND (:provider::text IS NULL OR provider = :provider) AND (:model::text IS NULL OR model = :model)
ORDER BY model_version_id DESC LIMIT :page_size;
