-- The chunks of a version are numbered from 0 without a gap or a double.
SELECT version_id, count(*) FROM datalane.chunks WHERE workspace_id = app.workspace_id()
GROUP BY version_id
HAVING min(ordinal) <> 0 OR max(ordinal) <> count(*) - 1 OR count(DISTINCT ordinal) <> count(*);

-- A chunk of a current version has one vector, any other chunk none.
SELECT c.chunk_id, count(v.chunk_id)
FROM datalane.chunks c
JOIN datalane.documents d ON d.workspace_id = c.workspace_id AND d.document_id = c.document_id
LEFT JOIN datalane.chunk_vectors v ON v.workspace_id = c.workspace_id AND v.chunk_id = c.chunk_id
WHERE c.workspace_id = app.workspace_id()
GROUP BY c.chunk_id, c.version_id, d.current_version_id
HAVING count(v.chunk_id) <> CASE WHEN c.version_id = d.current_version_id THEN 1 ELSE 0 END;

-- A chunk of a current version has one search entry, any other chunk none.
SELECT c.chunk_id, count(e.entry_id)
FROM datalane.chunks c
JOIN datalane.documents d ON d.workspace_id = c.workspace_id AND d.document_id = c.document_id
LEFT JOIN datalane.search_entries e ON e.workspace_id = c.workspace_id AND e.entry_id = c.chunk_id
WHERE c.workspace_id = app.workspace_id()
GROUP BY c.chunk_id, c.version_id, d.current_version_id
HAVING count(e.entry_id) <> CASE WHEN c.version_id = d.current_version_id THEN 1 ELSE 0 END;

-- Every search entry belongs to a chunk.
SELECT e.entry_id FROM datalane.search_entries e
WHERE e.workspace_id = app.workspace_id() AND NOT EXISTS (
    SELECT FROM datalane.chunks c WHERE c.workspace_id = app.workspace_id() AND c.chunk_id = e.entry_id);

-- The terms of a chunk's text are in its search entry.
SELECT c.chunk_id FROM datalane.search_entries e
JOIN datalane.chunks c ON c.workspace_id = e.workspace_id AND c.chunk_id = e.entry_id
WHERE e.workspace_id = app.workspace_id() AND NOT e.term_ids @> ARRAY(
    SELECT hashtextextended(lexeme, 0) FROM unnest(to_tsvector('english', c.text)));

-- The postings are exactly the terms of the entries.
SELECT coalesce(e.entry_id, p.entry_id), e.term_id, p.term_id
FROM (SELECT entry_id, unnest(term_ids) AS term_id FROM datalane.search_entries
      WHERE workspace_id = app.workspace_id()) e
FULL JOIN (SELECT entry_id, term_id FROM datalane.search_postings WHERE workspace_id = app.workspace_id()) p
    ON p.entry_id = e.entry_id AND p.term_id = e.term_id
WHERE e.entry_id IS NULL OR p.entry_id IS NULL;

-- An entry's length is the sum of its terms' frequencies, and its postings say the same.
SELECT e.entry_id, e.length, sum(p.tf), min(p.length), max(p.length)
FROM datalane.search_entries e
JOIN datalane.search_postings p ON p.workspace_id = e.workspace_id AND p.entry_id = e.entry_id
WHERE e.workspace_id = app.workspace_id()
GROUP BY e.entry_id, e.length
HAVING sum(p.tf) <> e.length OR min(p.length) <> e.length OR max(p.length) <> e.length;

-- The totals of search equal a recount.
SELECT t.entries, t.length, r.entries, r.length
FROM (SELECT coalesce(sum(entries), 0) AS entries, coalesce(sum(length), 0) AS length
      FROM datalane.search_totals WHERE workspace_id = app.workspace_id()) t,
     (SELECT count(*) AS entries, coalesce(sum(length), 0) AS length
      FROM datalane.search_entries WHERE workspace_id = app.workspace_id()) r
WHERE (t.entries, t.length) <> (r.entries, r.length);

-- Each version that was ingested was told once, with its number of chunks.
SELECT v.version_id, v.chunks, e.times, e.told
FROM (SELECT v.version_id, count(c.chunk_id) AS chunks FROM datalane.document_versions v
      LEFT JOIN datalane.chunks c ON c.workspace_id = v.workspace_id AND c.version_id = v.version_id
      WHERE v.workspace_id = app.workspace_id() AND v.indexed_at IS NOT NULL GROUP BY v.version_id) v
FULL JOIN (SELECT (payload ->> 'version_id')::uuid AS version_id, count(*) AS times,
                  max((payload ->> 'chunks')::integer) AS told
           FROM datalane.events WHERE workspace_id = app.workspace_id() AND event_type = 'document.ingested'
           GROUP BY 1) e ON e.version_id = v.version_id
WHERE v.version_id IS NULL OR e.times IS DISTINCT FROM 1 OR e.told <> v.chunks;

-- Each job that failed was told once.
SELECT j.id, e.times
FROM (SELECT id, subject_id FROM datalane.jobs WHERE workspace_id = app.workspace_id() AND status = 'failed') j
FULL JOIN (SELECT subject_id, count(*) AS times FROM datalane.events
           WHERE workspace_id = app.workspace_id() AND event_type = 'document.failed' GROUP BY subject_id) e
    ON e.subject_id = j.subject_id
WHERE j.id IS NULL OR e.times IS DISTINCT FROM 1;

-- Each event has one record of its acceptance.
SELECT e.event_id, i.event_id, i.times
FROM (SELECT event_id FROM datalane.events WHERE workspace_id = app.workspace_id()) e
FULL JOIN (SELECT event_id, count(*) AS times FROM datalane.event_ingestion
           WHERE workspace_id = app.workspace_id() AND ingestion_status = 'accepted' GROUP BY event_id) i
    ON i.event_id = e.event_id
WHERE e.event_id IS NULL OR i.times IS DISTINCT FROM 1;

-- No dead letter, and no work left.
SELECT id, kind, status, last_error_class, last_error_message FROM datalane.jobs
WHERE workspace_id = app.workspace_id() AND status <> 'failed';
