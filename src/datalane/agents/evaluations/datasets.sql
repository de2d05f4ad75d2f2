-- name: lock_name(workspace_id, name)$
-- Versions of one name are numbered in turn.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws('/', :workspace_id::uuid, :name::text), 361));

-- name: find_dataset(workspace_id, name, sha256)^
-- The version that has these cases.
SELECT dataset_version_id, name, version, encode(cases_sha256, 'hex') AS sha256, cases, created_at, created_by_actor_id
FROM datalane.agent_datasets WHERE workspace_id = :workspace_id AND name = :name AND cases_sha256 = :sha256;

-- name: add_dataset(workspace_id, dataset_version_id, name, sha256, cases, now, actor_id)!
-- The next version, unless another one has the cases or the number.
INSERT INTO datalane.agent_datasets (workspace_id, dataset_version_id, name, version, cases_sha256, cases, created_at, created_by_actor_id)
SELECT :workspace_id::uuid, :dataset_version_id::uuid, :name::text,
       (SELECT coalesce(max(d.version), 0) + 1 FROM datalane.agent_datasets d WHERE d.workspace_id = :workspace_id AND d.name = :name),
       :sha256::bytea, :cases::integer, :now::timestamptz, :actor_id::uuid
ON CONFLICT DO NOTHING;

-- name: add_cases(workspace_id, dataset_version_id, cases, ordinals, case_ids, inputs, expected, relevant)!
-- Some of its cases.
INSERT INTO datalane.agent_dataset_cases (workspace_id, dataset_version_id, ordinal, case_id, cases, input, expected, relevant)
SELECT :workspace_id, :dataset_version_id, i.ordinal, i.case_id, :cases, i.input, i.expected, i.relevant
FROM unnest(:ordinals::integer[], :case_ids::text[], (:inputs::text[])::jsonb[], (:expected::text[])::jsonb[],
            (:relevant::text[])::jsonb[]) AS i (ordinal, case_id, input, expected, relevant);

-- name: get_dataset(workspace_id, dataset_version_id)^
-- One version.
SELECT dataset_version_id, name, version, encode(cases_sha256, 'hex') AS sha256, cases, created_at, created_by_actor_id
FROM datalane.agent_datasets WHERE workspace_id = :workspace_id AND dataset_version_id = :dataset_version_id;

-- name: list_datasets(workspace_id, name, before, page_size)
-- Versions, the newest first.
SELECT dataset_version_id, name, version, encode(cases_sha256, 'hex') AS sha256, cases, created_at, created_by_actor_id
FROM datalane.agent_datasets
WHERE workspace_id = :workspace_id AND (:before::uuid IS NULL OR dataset_version_id < :before)
  AND (:name::text IS NULL OR name = :name)
ORDER BY dataset_version_id DESC LIMIT :page_size;

-- name: list_cases(workspace_id, dataset_version_id, behind, page_size)
-- Cases of a version behind a place, in their order.
SELECT ordinal, case_id, input, expected, relevant FROM datalane.agent_dataset_cases
WHERE workspace_id = :workspace_id AND dataset_version_id = :dataset_version_id AND ordinal > :behind
ORDER BY ordinal LIMIT :page_size;

-- name: list_case_ids(workspace_id, dataset_version_id)
-- The names of all its cases, in their order.
SELECT ordinal, case_id FROM datalane.agent_dataset_cases
WHERE workspace_id = :workspace_id AND dataset_version_id = :dataset_version_id ORDER BY ordinal;
