-- Questions about events, each read only.
-- A range begins with `since` and ends before `until`, which are midnights of the time zone that is asked for.

-- name: count_funnel(workspace_id, steps, since, until, patience, by_plan)
-- How many subjects came to each step. One enters with its first event of step 1 in the range, and takes a step with its first event of
-- that step at or after the step before, within `patience` of entering. A step that is not asked for has no rows.
WITH took_1 AS MATERIALIZED (
    SELECT a.subject, min(a.occurred_at) AS entered, min(a.occurred_at) AS taken FROM datalane.analytics_events a
    WHERE a.workspace_id = :workspace_id AND a.event_name = (:steps::text[])[1] AND a.occurred_at >= :since AND a.occurred_at < :until
    GROUP BY a.subject
), took_2 AS MATERIALIZED (
    SELECT a.subject, min(t.entered) AS entered, min(a.occurred_at) AS taken
    FROM took_1 t JOIN datalane.analytics_events a ON a.subject = t.subject
    WHERE a.workspace_id = :workspace_id AND a.event_name = (:steps::text[])[2] AND a.occurred_at >= :since
      AND a.occurred_at < :until AND a.occurred_at >= t.taken AND a.occurred_at <= t.entered + :patience::interval
    GROUP BY a.subject
), took_3 AS MATERIALIZED (
    SELECT a.subject, min(t.entered) AS entered, min(a.occurred_at) AS taken
    FROM took_2 t JOIN datalane.analytics_events a ON a.subject = t.subject
    WHERE a.workspace_id = :workspace_id AND a.event_name = (:steps::text[])[3] AND a.occurred_at >= :since
      AND a.occurred_at < :until AND a.occurred_at >= t.taken AND a.occurred_at <= t.entered + :patience::interval
    GROUP BY a.subject
), took_4 AS MATERIALIZED (
    SELECT a.subject, min(t.entered) AS entered, min(a.occurred_at) AS taken
    FROM took_3 t JOIN datalane.analytics_events a ON a.subject = t.subject
    WHERE a.workspace_id = :workspace_id AND a.event_name = (:steps::text[])[4] AND a.occurred_at >= :since
      AND a.occurred_at < :until AND a.occurred_at >= t.taken AND a.occurred_at <= t.entered + :patience::interval
    GROUP BY a.subject
), took_5 AS MATERIALIZED (
    SELECT a.subject, min(t.entered) AS entered, min(a.occurred_at) AS taken
    FROM took_4 t JOIN datalane.analytics_events a ON a.subject = t.subject
    WHERE a.workspace_id = :workspace_id AND a.event_name = (:steps::text[])[5] AND a.occurred_at >= :since
      AND a.occurred_at < :until AND a.occurred_at >= t.taken AND a.occurred_at <= t.entered + :patience::interval
    GROUP BY a.subject
), took_6 AS MATERIALIZED (
    SELECT a.subject, min(t.entered) AS entered, min(a.occurred_at) AS taken
    FROM took_5 t JOIN datalane.analytics_events a ON a.subject = t.subject
    WHERE a.workspace_id = :workspace_id AND a.event_name = (:steps::text[])[6] AND a.occurred_at >= :since
      AND a.occurred_at < :until AND a.occurred_at >= t.taken AND a.occurred_at <= t.entered + :patience::interval
    GROUP BY a.subject
), took_7 AS MATERIALIZED (
    SELECT a.subject, min(t.entered) AS entered, min(a.occurred_at) AS taken
    FROM took_6 t JOIN datalane.analytics_events a ON a.subject = t.subject
    WHERE a.workspace_id = :workspace_id AND a.event_name = (:steps::text[])[7] AND a.occurred_at >= :since
      AND a.occurred_at < :until AND a.occurred_at >= t.taken AND a.occurred_at <= t.entered + :patience::interval
    GROUP BY a.subject
), took_8 AS MATERIALIZED (
    SELECT a.subject, min(t.entered) AS entered, min(a.occurred_at) AS taken
    FROM took_7 t JOIN datalane.analytics_events a ON a.subject = t.subject
    WHERE a.workspace_id = :workspace_id AND a.event_name = (:steps::text[])[8] AND a.occurred_at >= :since
      AND a.occurred_at < :until AND a.occurred_at >= t.taken AND a.occurred_at <= t.entered + :patience::interval
    GROUP BY a.subject
), took_9 AS MATERIALIZED (
    SELECT a.subject, min(t.entered) AS entered, min(a.occurred_at) AS taken
    FROM took_8 t JOIN datalane.analytics_events a ON a.subject = t.subject
    WHERE a.workspace_id = :workspace_id AND a.event_name = (:steps::text[])[9] AND a.occurred_at >= :since
      AND a.occurred_at < :until AND a.occurred_at >= t.taken AND a.occurred_at <= t.entered + :patience::interval
    GROUP BY a.subject
), took_10 AS MATERIALIZED (
    SELECT a.subject, min(t.entered) AS entered, min(a.occurred_at) AS taken
    FROM took_9 t JOIN datalane.analytics_events a ON a.subject = t.subject
    WHERE a.workspace_id = :workspace_id AND a.event_name = (:steps::text[])[10] AND a.occurred_at >= :since
      AND a.occurred_at < :until AND a.occurred_at >= t.taken AND a.occurred_at <= t.entered + :patience::interval
    GROUP BY a.subject
), taken AS (
    SELECT 1 AS step, subject FROM took_1
    UNION ALL SELECT 2, subject FROM took_2
    UNION ALL SELECT 3, subject FROM took_3
    UNION ALL SELECT 4, subject FROM took_4
    UNION ALL SELECT 5, subject FROM took_5
    UNION ALL SELECT 6, subject FROM took_6
    UNION ALL SELECT 7, subject FROM took_7
    UNION ALL SELECT 8, subject FROM took_8
    UNION ALL SELECT 9, subject FROM took_9
    UNION ALL SELECT 10, subject FROM took_10
), profiles AS MATERIALIZED (
    SELECT a.subject, min(a.plan_id) AS plan_id
    FROM took_1 t JOIN datalane.analytics_events a ON a.subject = t.subject
    WHERE :by_plan::boolean AND a.workspace_id = :workspace_id AND a.event_name = (:steps::text[])[1] AND a.occurred_at = t.entered
      AND a.occurred_at >= :since AND a.occurred_at < :until
    GROUP BY a.subject
)
SELECT t.step, p.plan_id, count(*) AS subjects FROM taken t LEFT JOIN profiles p ON p.subject = t.subject GROUP BY t.step, p.plan_id
ORDER BY p.plan_id NULLS FIRST, t.step;

-- name: count_cohorts(workspace_id, entry_event, return_event, unit, days, ages, since, until, time_zone)
-- Subjects by the day or week of their first entry, and how many of them came back in each later one; `age` is null for all of them.
WITH cohorts AS MATERIALIZED (
    SELECT a.subject, date_trunc(:unit::text, min(a.occurred_at) AT TIME ZONE :time_zone)::date AS cohort FROM datalane.analytics_events a
    WHERE a.workspace_id = :workspace_id AND a.event_name = :entry_event AND a.occurred_at >= :since AND a.occurred_at < :until
    GROUP BY a.subject
), returns AS (
    SELECT a.subject, date_trunc(:unit::text, a.occurred_at AT TIME ZONE :time_zone)::date AS period FROM datalane.analytics_events a
    WHERE a.workspace_id = :workspace_id AND a.event_name = :return_event AND a.occurred_at >= :since AND a.occurred_at < :until
    GROUP BY 1, 2
)
SELECT c.cohort, NULL::integer AS age, count(*) AS subjects FROM cohorts c GROUP BY c.cohort
UNION ALL
SELECT c.cohort, (r.period - c.cohort) / :days::integer, count(*) FROM cohorts c JOIN returns r ON r.subject = c.subject
WHERE r.period >= c.cohort AND (r.period - c.cohort) / :days::integer <= :ages::integer GROUP BY 1, 2
ORDER BY 1, 2 NULLS FIRST;

-- name: count_weeks(workspace_id, event_name, since, until, time_zone)
-- Subjects with any event, and those with this one, by the Monday of their week.
WITH active AS (
    SELECT date_trunc('week', a.occurred_at AT TIME ZONE :time_zone)::date AS week, a.subject FROM datalane.analytics_events a
    WHERE a.workspace_id = :workspace_id AND a.occurred_at >= :since AND a.occurred_at < :until
    GROUP BY 1, 2
), adopting AS (
    SELECT date_trunc('week', a.occurred_at AT TIME ZONE :time_zone)::date AS week, a.subject FROM datalane.analytics_events a
    WHERE a.workspace_id = :workspace_id AND a.event_name = :event_name AND a.occurred_at >= :since AND a.occurred_at < :until
    GROUP BY 1, 2
)
SELECT c.week, c.active, coalesce(d.adopting, 0) AS adopting
FROM (SELECT week, count(*) AS active FROM active GROUP BY week) c
LEFT JOIN (SELECT week, count(*) AS adopting FROM adopting GROUP BY week) d ON d.week = c.week ORDER BY c.week;

-- name: count_plans(workspace_id, event_name, since, until)
-- Events and their subjects by the plan that was enforced.
SELECT a.plan_id, count(*) AS events, count(DISTINCT a.subject) AS subjects FROM datalane.analytics_events a
WHERE a.workspace_id = :workspace_id AND a.event_name = :event_name AND a.occurred_at >= :since AND a.occurred_at < :until
GROUP BY a.plan_id ORDER BY a.plan_id NULLS FIRST;

-- name: count_days(workspace_id, event_name, since, until, time_zone)
-- Events by day.
SELECT (a.occurred_at AT TIME ZONE :time_zone::text)::date AS day, count(*) AS events FROM datalane.analytics_events a
WHERE a.workspace_id = :workspace_id AND a.event_name = :event_name AND a.occurred_at >= :since AND a.occurred_at < :until
GROUP BY 1 ORDER BY 1;
