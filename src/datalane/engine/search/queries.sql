-- name: get_search_language(workspace_id)$
-- The workspace's text search configuration.
SELECT search_language FROM datalane.workspaces WHERE workspace_id = :workspace_id;

-- name: hold_search_language()$
-- The same, to index by: nobody sets another until this transaction ends.
SELECT datalane.hold_search_language();

-- name: add_entries(workspace_id, collection, entry_ids, texts, language)!
-- Put entries into the postings. Written in term order, which is the order of the index.
WITH lexemes AS MATERIALIZED (
    SELECT e.entry_id, hashtextextended(l.lexeme, 0) AS term_id, least(cardinality(l.positions), 32767) AS tf
    FROM unnest(:entry_ids::uuid[], :texts::text[]) AS e (entry_id, body)
    CROSS JOIN LATERAL unnest(to_tsvector(:language::text::regconfig, e.body)) AS l
), entries AS MATERIALIZED (
    SELECT entry_id, sum(tf)::integer AS length, array_agg(term_id) AS term_ids FROM lexemes GROUP BY entry_id
), posted AS (
    INSERT INTO datalane.search_postings (workspace_id, collection, term_id, entry_id, tf, length)
    SELECT :workspace_id, :collection::smallint, l.term_id, l.entry_id, sum(l.tf), e.length
    FROM lexemes l JOIN entries e ON e.entry_id = l.entry_id
    GROUP BY l.term_id, l.entry_id, e.length ORDER BY l.term_id, l.entry_id
), totaled AS (
    INSERT INTO datalane.search_totals AS t (workspace_id, collection, part, entries, length)
    SELECT :workspace_id, :collection::smallint, pg_backend_pid() % 16, count(*), coalesce(sum(length), 0) FROM entries
    HAVING count(*) > 0
    ON CONFLICT (workspace_id, collection, part)
        DO UPDATE SET entries = t.entries + EXCLUDED.entries, length = t.length + EXCLUDED.length
)
INSERT INTO datalane.search_entries (workspace_id, collection, entry_id, length, term_ids)
SELECT :workspace_id, :collection::smallint, entry_id, length, term_ids FROM entries;

-- name: remove_entries(workspace_id, collection, entry_ids)!
-- Take entries out of the postings, exactly what they put in.
WITH gone AS (
    DELETE FROM datalane.search_entries
    WHERE workspace_id = :workspace_id AND collection = :collection::smallint AND entry_id = ANY (:entry_ids::uuid[])
    RETURNING entry_id, length, term_ids
), totaled AS (
    INSERT INTO datalane.search_totals AS t (workspace_id, collection, part, entries, length)
    SELECT :workspace_id, :collection::smallint, pg_backend_pid() % 16, -count(*), -coalesce(sum(length), 0) FROM gone
    HAVING count(*) > 0
    ON CONFLICT (workspace_id, collection, part)
        DO UPDATE SET entries = t.entries + EXCLUDED.entries, length = t.length + EXCLUDED.length
)
DELETE FROM datalane.search_postings p USING (SELECT DISTINCT g.entry_id, term_id FROM gone g, unnest(g.term_ids) AS term_id) g
WHERE p.workspace_id = :workspace_id AND p.collection = :collection::smallint
  AND p.term_id = g.term_id AND p.entry_id = g.entry_id;

-- name: search_keyword(workspace_id, collection, language, text, most_terms, among, most)
-- BM25 inside one workspace: k1 = 1.2, b = 0.75, idf = ln(1 + (N - df + 0.5) / (df + 0.5)) as in Lucene (Robertson and
-- Zaragoza 2009). N, average length and df are the workspace's own. df is counted from the postings that are read
-- anyway. Of a long query only the rarest terms count. OFFSET 0 fixes the plan, one index scan a term: right after a
-- bulk load the planner knows nothing of the postings and would read all of the workspace's. `among` leaves others out
-- after they were counted, so that it moves no score.
WITH words AS MATERIALIZED (
    SELECT hashtextextended(lexeme, 0) AS term_id, cardinality(positions) AS qtf
    FROM unnest(to_tsvector(:language::text::regconfig, :text))
), ranked AS MATERIALIZED (
    SELECT w.term_id, w.qtf, CASE WHEN (SELECT count(*) FROM words) > :most_terms::integer THEN (
        SELECT count(*) FROM (
            SELECT FROM datalane.search_postings p
            WHERE p.workspace_id = :workspace_id AND p.collection = :collection::smallint AND p.term_id = w.term_id
            LIMIT 2000) AS seen) ELSE 1 END AS rough_df
    FROM words w
), query AS MATERIALIZED (
    SELECT term_id, qtf FROM ranked WHERE rough_df > 0 ORDER BY rough_df, term_id LIMIT :most_terms::integer
), hits AS MATERIALIZED (
    SELECT q.term_id, p.entry_id, p.tf, p.length
    FROM query q CROSS JOIN LATERAL (
        SELECT p.entry_id, p.tf::float8 AS tf, p.length::float8 AS length
        FROM datalane.search_postings p
        WHERE p.workspace_id = :workspace_id AND p.collection = :collection::smallint AND p.term_id = q.term_id
        OFFSET 0) AS p
), totals AS MATERIALIZED (
    SELECT sum(entries)::float8 AS n, sum(length)::float8 / nullif(sum(entries), 0)::float8 AS average_length
    FROM datalane.search_totals WHERE workspace_id = :workspace_id AND collection = :collection::smallint
), weights AS MATERIALIZED (
    SELECT h.term_id, t.average_length,
           q.qtf * ln(1::float8 + (t.n - h.df + 0.5::float8) / (h.df + 0.5::float8)) AS weight
    FROM (SELECT term_id, count(*)::float8 AS df FROM hits GROUP BY term_id) h
    JOIN query q ON q.term_id = h.term_id CROSS JOIN totals t
)
SELECT h.entry_id,
       sum(w.weight * h.tf / (h.tf + 1.2::float8 * (0.25::float8 + 0.75::float8 * h.length / w.average_length))
           ORDER BY h.term_id) AS score
FROM hits h JOIN weights w ON w.term_id = h.term_id
WHERE :among::uuid[] IS NULL OR h.entry_id IN (SELECT unnest(:among::uuid[]))
GROUP BY h.entry_id ORDER BY score DESC, h.entry_id LIMIT :most::integer;

-- name: matched_terms(workspace_id, collection, language, text, entry_ids)
-- The terms of a text that entries have.
WITH words AS MATERIALIZED (
    SELECT lexeme, hashtextextended(lexeme, 0) AS term_id FROM unnest(to_tsvector(:language::text::regconfig, :text))
)
SELECT e.entry_id, array_agg(w.lexeme) AS terms
FROM datalane.search_entries e CROSS JOIN LATERAL unnest(e.term_ids) AS t (term_id) JOIN words w ON w.term_id = t.term_id
WHERE e.workspace_id = :workspace_id AND e.collection = :collection::smallint AND e.entry_id = ANY (:entry_ids::uuid[])
GROUP BY e.entry_id;

-- name: words_of_terms(language, text, words)
-- Words that have a term in common with a text.
WITH terms AS MATERIALIZED (SELECT lexeme FROM unnest(to_tsvector(:language::text::regconfig, :text)))
SELECT DISTINCT i.word
FROM unnest(:words::text[]) AS i (word) CROSS JOIN LATERAL unnest(to_tsvector(:language::text::regconfig, i.word)) AS l
JOIN terms t ON t.lexeme = l.lexeme;
