-- Questions about events, each read only.
-- A range begins with `since` and ends before `until`, which are midnights of the time zone that is asked for.

-- name: count_cohorts(workspace_id, entry_event, return_event, unit, days, ages, since, until, time_zone)
-- Subjects by the day or week of their first entry, and how many of them came back in each, not before it; `age` is null for all of them.
WITH cohorts AS MATERIALIZED (
    SELECT a.subject, min(a.occurred_at) AS entered, date_trunc(:unit::text, min(a.occurred_at) AT TIME ZONE :time_zone)::date AS cohort
    FROM datalane.analytics_events a
    WHERE a.workspace_id = :workspace_id AND a.event_name = :entry_event AND a.occurred_at >= :since AND a.occurred_at < :until
    GROUP BY a.subject
), returns AS (
    SELECT a.subject, date_trunc(:unit::text, a.occurred_at AT TIME ZONE :time_zone)::date AS period, max(a.occurred_at) AS last
    FROM datalane.analytics_events a
    WHERE a.workspace_id = :workspace_id AND a.event_name = :return_event AND a.occurred_at >= :since AND a.occurred_at < :until
    GROUP BY 1, 2
)
SELECT c.cohort, NULL::integer AS age, count(*) AS subjects FROM cohorts c GROUP BY c.cohort
UNION ALL
SELECT c.cohort, (r.period - c.cohort) / :days::integer, count(*) FROM cohorts c JOIN returns r ON r.subject = c.subject
WHERE r.last >= c.entered AND r.period >= c.cohort AND (r.period - c.cohort) / :days::integer <= :ages::integer GROUP BY 1, 2
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
