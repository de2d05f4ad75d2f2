-- name: read_versions(workspace_id, version_ids)
-- What ingestion needs to know of versions.
SELECT version_id, document_id, ordinal, filename, media_type, title, file_key, content_sha256
FROM datalane.document_versions WHERE workspace_id = :workspace_id AND version_id = ANY (:version_ids::uuid[]);

-- name: lock_documents(workspace_id, document_ids)
-- Documents that take a new version now, always locked in the same order.
SELECT document_id, current_version_id, current_ordinal FROM datalane.documents
WHERE workspace_id = :workspace_id AND document_id = ANY (:document_ids::uuid[]) ORDER BY document_id FOR UPDATE;

-- name: put_texts(workspace_id, version_ids, texts, titles, media_types, page_starts, parser_versions, chunker_versions, model_versions, language, now)!
-- Canonical texts. Page starts travel as JSON arrays.
UPDATE datalane.document_versions v
SET canonical_text = i.body, characters = char_length(i.body), title = i.title, media_type = i.media_type,
    page_starts = ARRAY(SELECT p::integer FROM jsonb_array_elements_text(i.pages) AS p),
    parser_version = i.parser, chunker_version = i.chunker, embedding_model_version = i.model,
    search_language = :language, indexed_at = :now
FROM unnest(:version_ids::uuid[], :texts::text[], :titles::text[], :media_types::text[], (:page_starts::text[])::jsonb[],
            :parser_versions::text[], :chunker_versions::text[], :model_versions::text[])
    AS i (id, body, title, media_type, pages, parser, chunker, model)
WHERE v.workspace_id = :workspace_id AND v.version_id = i.id;

-- name: drop_chunks(workspace_id, version_ids)!
-- An ingestion that is done again replaces its own chunks.
DELETE FROM datalane.chunks WHERE workspace_id = :workspace_id AND version_id = ANY (:version_ids::uuid[]);

-- name: add_chunks(workspace_id, chunk_ids, document_ids, version_ids, ordinals, starts, ends, start_bytes, end_bytes, pages, headings, texts)!
-- Chunks with their places in the canonical text.
INSERT INTO datalane.chunks (workspace_id, chunk_id, document_id, version_id, ordinal, start_offset, end_offset, start_byte,
                             end_byte, page, heading, text)
SELECT :workspace_id, i.id, i.document, i.version, i.ordinal, i.start_at, i.end_at, i.start_byte, i.end_byte, i.page, i.heading, i.body
FROM unnest(:chunk_ids::uuid[], :document_ids::uuid[], :version_ids::uuid[], :ordinals::integer[], :starts::integer[],
            :ends::integer[], :start_bytes::bigint[], :end_bytes::bigint[], :pages::integer[], :headings::text[], :texts::text[])
    AS i (id, document, version, ordinal, start_at, end_at, start_byte, end_byte, page, heading, body);

-- name: add_vectors(workspace_id, model_version, chunk_ids, embeddings)!
-- Vectors of chunks by one model.
INSERT INTO datalane.chunk_vectors (workspace_id, model_version, chunk_id, embedding)
SELECT :workspace_id, :model_version, i.chunk, i.embedding
FROM unnest(:chunk_ids::uuid[], :embeddings::public.vector[]) AS i (chunk, embedding);

-- name: list_version_chunks(workspace_id, version_ids)
-- Chunks of versions that leave the index.
SELECT chunk_id FROM datalane.chunks WHERE workspace_id = :workspace_id AND version_id = ANY (:version_ids::uuid[]);

-- name: drop_vectors(workspace_id, chunk_ids)!
-- Vectors of chunks that leave the index.
DELETE FROM datalane.chunk_vectors WHERE workspace_id = :workspace_id AND chunk_id = ANY (:chunk_ids::uuid[]);

-- name: set_current(workspace_id, document_ids, version_ids, ordinals, now)!
-- Readers see the new version from the commit on.
UPDATE datalane.documents d
SET current_version_id = i.version, current_ordinal = i.ordinal, updated_at = :now,
    title = coalesce(v.title, d.title)
FROM unnest(:document_ids::uuid[], :version_ids::uuid[], :ordinals::integer[]) AS i (document, version, ordinal)
JOIN datalane.document_versions v ON v.workspace_id = :workspace_id AND v.version_id = i.version
WHERE d.workspace_id = :workspace_id AND d.document_id = i.document;
