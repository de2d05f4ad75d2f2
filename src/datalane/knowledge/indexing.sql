-- name: lock_content(workspace_id, content_sha256)$
-- The same text is indexed in turn, so that who comes second finds what the first one wrote.
SELECT pg_advisory_xact_lock(hashtextextended(
    concat_ws('/', :workspace_id::uuid, encode(:content_sha256::bytea, 'hex')), 8));

-- name: find_searched(workspace_id, content_sha256, source_uri, wanted)
-- Newest versions that are searched and hold the same bytes, of the wanted document or else of the same source, with the places of
-- their chunks.
SELECT v.document_id, v.version_id, v.canonical_text, v.chunker_version,
       ARRAY(SELECT c.start_offset FROM datalane.chunks c
             WHERE c.workspace_id = :workspace_id AND c.version_id = v.version_id ORDER BY c.ordinal) AS starts,
       ARRAY(SELECT c.end_offset FROM datalane.chunks c
             WHERE c.workspace_id = :workspace_id AND c.version_id = v.version_id ORDER BY c.ordinal) AS ends
FROM datalane.document_versions v
JOIN datalane.documents d ON d.workspace_id = v.workspace_id AND d.document_id = v.document_id
WHERE v.workspace_id = :workspace_id AND v.content_sha256 = :content_sha256
  AND v.ordinal = d.latest_ordinal AND v.version_id = d.current_version_id
  AND CASE WHEN :wanted::uuid IS NULL THEN d.source_uri IS NOT DISTINCT FROM :source_uri::text
           ELSE v.document_id = :wanted END
ORDER BY v.version_id;
