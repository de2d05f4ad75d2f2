-- name: lock_content(workspace_id, content_sha256)$
-- The same text is indexed in turn, so that who comes second finds what the first one wrote.
SELECT pg_advisory_xact_lock(hashtextextended(
    concat_ws('/', :workspace_id::uuid, encode(:content_sha256::bytea, 'hex')), 8));

-- name: find_searched(workspace_id, content_sha256, source_uri, wanted, text, callers, is_callers, starts, ends)^
-- A newest version that is searched and holds the same text, of the wanted document or else of the same source. Its chunks are the
-- same where a caller has cut one of the two (chunker `callers`).
SELECT v.document_id, v.version_id, cut.chunks
FROM datalane.document_versions v
JOIN datalane.documents d ON d.workspace_id = v.workspace_id AND d.document_id = v.document_id
CROSS JOIN LATERAL (
    SELECT count(*) AS chunks, array_agg(c.start_offset ORDER BY c.ordinal) AS starts, array_agg(c.end_offset ORDER BY c.ordinal) AS ends
    FROM datalane.chunks c WHERE c.workspace_id = :workspace_id AND c.version_id = v.version_id) AS cut
WHERE v.workspace_id = :workspace_id AND v.content_sha256 = :content_sha256
  AND v.ordinal = d.latest_ordinal AND v.version_id = d.current_version_id AND v.canonical_text = :text
  AND CASE WHEN :wanted::uuid IS NULL THEN d.source_uri IS NOT DISTINCT FROM :source_uri::text
           ELSE v.document_id = :wanted END
  AND (NOT (:is_callers::boolean OR v.chunker_version = :callers)
       OR (cut.starts = :starts::integer[] AND cut.ends = :ends::integer[]))
ORDER BY v.version_id LIMIT 1;
