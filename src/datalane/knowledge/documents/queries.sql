-- name: find_same(workspace_id, content_sha256, source_uris, wanted)
-- Newest versions that hold the same bytes, of the wanted document or else of the same source.
SELECT v.content_sha256, d.source_uri, i.wanted, v.document_id, v.version_id, v.job_id
FROM datalane.document_versions v
JOIN datalane.documents d ON d.workspace_id = v.workspace_id AND d.document_id = v.document_id
JOIN unnest(:content_sha256::bytea[], :source_uris::text[], :wanted::uuid[]) AS i (content, source, wanted)
    ON v.content_sha256 = i.content
    AND CASE WHEN i.wanted IS NULL THEN d.source_uri IS NOT DISTINCT FROM i.source ELSE v.document_id = i.wanted END
WHERE v.workspace_id = :workspace_id AND v.ordinal = d.latest_ordinal;

-- name: lock_uploads(workspace_id)$
-- Uploads into a workspace write their rows in turn, so that each sees the duplicates of the one before.
SELECT pg_advisory_xact_lock(hashtextextended((:workspace_id::uuid)::text, 1));

-- name: find_by_source(workspace_id, source_key)$
-- The document of a source that was pushed.
SELECT document_id FROM datalane.document_sources WHERE workspace_id = :workspace_id AND source_key = :source_key;

-- name: keep_source(workspace_id, source_key, document_id)!
-- The document of a source from now on.
INSERT INTO datalane.document_sources (workspace_id, source_key, document_id)
VALUES (:workspace_id, :source_key, :document_id)
ON CONFLICT (workspace_id, source_key) DO UPDATE SET document_id = excluded.document_id
WHERE document_sources.document_id <> excluded.document_id;

-- name: describe(workspace_id, document_id, tags, metadata)!
-- What is said anew of a document; null leaves it. Tags travel as a JSON array.
UPDATE datalane.documents SET
    tags = CASE WHEN :tags::jsonb IS NULL THEN tags ELSE ARRAY(SELECT jsonb_array_elements_text(:tags::jsonb)) END,
    metadata = coalesce(:metadata::jsonb, metadata), updated_at = clock_timestamp()
WHERE workspace_id = :workspace_id AND document_id = :document_id;

-- name: add_documents(workspace_id, document_ids, titles, source_uris, metadata, tags, actor_id)!
-- New documents without a version yet. Tags travel as JSON arrays.
INSERT INTO datalane.documents (workspace_id, document_id, title, source_uri, metadata, tags, created_by_actor_id)
SELECT :workspace_id, i.id, i.title, i.uri, i.metadata,
       ARRAY(SELECT jsonb_array_elements_text(i.tags)), :actor_id
FROM unnest(:document_ids::uuid[], :titles::text[], :source_uris::text[], (:metadata::text[])::jsonb[], (:tags::text[])::jsonb[])
    AS i (id, title, uri, metadata, tags);

-- name: next_version(workspace_id, document_id)$
-- The ordinal of a document's next version; null when there is no such document.
UPDATE datalane.documents SET latest_ordinal = latest_ordinal + 1, updated_at = clock_timestamp()
WHERE workspace_id = :workspace_id AND document_id = :document_id RETURNING latest_ordinal;

-- name: add_versions(workspace_id, version_ids, document_ids, ordinals, filenames, media_types, sizes, content_sha256, file_keys, job_ids, titles)!
-- Versions waiting for ingestion.
INSERT INTO datalane.document_versions (workspace_id, version_id, document_id, ordinal, filename, media_type, size_bytes,
                                        content_sha256, file_key, job_id, title)
SELECT :workspace_id, i.id, i.document, i.ordinal, i.filename, i.media_type, i.size, i.content, i.file_key, i.job, i.title
FROM unnest(:version_ids::uuid[], :document_ids::uuid[], :ordinals::integer[], :filenames::text[], :media_types::text[],
            :sizes::bigint[], :content_sha256::bytea[], :file_keys::text[], :job_ids::uuid[], :titles::text[])
    AS i (id, document, ordinal, filename, media_type, size, content, file_key, job, title);

-- name: get_document(workspace_id, document_id)^
-- One document with its newest version and the state of that version's ingestion.
SELECT d.document_id, d.title, d.source_uri, v.filename, v.media_type, v.size_bytes, d.tags, d.metadata, v.version_id,
       v.ordinal AS version, d.current_version_id, d.created_at, d.updated_at, i.job_id, i.status, i.attempt_count,
       i.error_class, i.error_message, i.replay_eligible,
       (SELECT count(*) FROM datalane.chunks c
        WHERE c.workspace_id = :workspace_id AND c.version_id = d.current_version_id) AS chunks
FROM datalane.documents d
JOIN datalane.document_versions v ON v.workspace_id = d.workspace_id AND v.document_id = d.document_id
    AND v.ordinal = d.latest_ordinal
JOIN datalane.version_ingestions i ON i.workspace_id = v.workspace_id AND i.version_id = v.version_id
WHERE d.workspace_id = :workspace_id AND d.document_id = :document_id;

-- name: list_documents(workspace_id, after, page_size)
-- Documents, newest first.
SELECT d.document_id, d.title, d.source_uri, v.filename, v.media_type, v.size_bytes, d.tags, d.metadata, v.version_id,
       v.ordinal AS version, d.current_version_id, d.created_at, d.updated_at, i.job_id, i.status, i.attempt_count,
       i.error_class, i.error_message, i.replay_eligible,
       (SELECT count(*) FROM datalane.chunks c
        WHERE c.workspace_id = :workspace_id AND c.version_id = d.current_version_id) AS chunks
FROM datalane.documents d
JOIN datalane.document_versions v ON v.workspace_id = d.workspace_id AND v.document_id = d.document_id
    AND v.ordinal = d.latest_ordinal
JOIN datalane.version_ingestions i ON i.workspace_id = v.workspace_id AND i.version_id = v.version_id
WHERE d.workspace_id = :workspace_id AND (:after::uuid IS NULL OR d.document_id < :after)
ORDER BY d.document_id DESC LIMIT :page_size;

-- name: lock_document(workspace_id, document_id)^
-- The document, kept from being ingested or deleted by others.
SELECT document_id, current_version_id FROM datalane.documents
WHERE workspace_id = :workspace_id AND document_id = :document_id FOR UPDATE;

-- name: list_versions(workspace_id, document_id)
-- A document's versions.
SELECT version_id, file_key, job_id FROM datalane.document_versions
WHERE workspace_id = :workspace_id AND document_id = :document_id ORDER BY ordinal;

-- name: list_chunk_ids(workspace_id, version_ids)
-- The chunks of versions.
SELECT chunk_id FROM datalane.chunks WHERE workspace_id = :workspace_id AND version_id = ANY (:version_ids::uuid[]);

-- name: count_vectors(workspace_id, chunk_ids)$
-- How many vectors the chunks have.
SELECT count(*) FROM datalane.chunk_vectors WHERE workspace_id = :workspace_id AND chunk_id = ANY (:chunk_ids::uuid[]);

-- name: delete_document(workspace_id, document_id)!
-- The document with its versions, chunks and vectors.
DELETE FROM datalane.documents WHERE workspace_id = :workspace_id AND document_id = :document_id;
