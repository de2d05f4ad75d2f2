-- A funnel. The file has one step behind the first, `took_2`; asking.py writes it out as often as a funnel may have one.

-- name: count_funnel(workspace_id, steps, since, until, seconds, by_plan)
-- How many subjects came to each step. One enters with its first event of step 1 from `since` on and before `until`, and takes a step with its
-- first event of that step at or after the step before, within `seconds` of entering. A step that is not asked for has no rows.
WITH took_1 AS MATERIALIZED (
    SELECT a.subject, min(a.occurred_at) AS entered, min(a.occurred_at) AS taken FROM datalane.analytics_events a
    WHERE a.workspace_id = :workspace_id AND a.event_name = (:steps::text[])[1] AND a.occurred_at >= :since AND a.occurred_at < :until
    GROUP BY a.subject
), took_2 AS MATERIALIZED (
    SELECT a.subject, min(t.entered) AS entered, min(a.occurred_at) AS taken
    FROM took_1 t JOIN datalane.analytics_events a ON a.subject = t.subject
    WHERE a.workspace_id = :workspace_id AND a.event_name = (:steps::text[])[2] AND a.occurred_at >= :since
      AND a.occurred_at < :until + interval '1 second' * :seconds::integer
      AND a.occurred_at >= t.taken AND a.occurred_at <= t.entered + interval '1 second' * :seconds::integer
    GROUP BY a.subject
), taken AS (
    SELECT 1 AS step, subject FROM took_1
    UNION ALL SELECT 2, subject FROM took_2
), profiles AS MATERIALIZED (
    SELECT a.subject, min(a.plan_id) AS plan_id
    FROM took_1 t JOIN datalane.analytics_events a ON a.subject = t.subject
    WHERE :by_plan::boolean AND a.workspace_id = :workspace_id AND a.event_name = (:steps::text[])[1] AND a.occurred_at = t.entered
      AND a.occurred_at >= :since AND a.occurred_at < :until
    GROUP BY a.subject
)
SELECT t.step, p.plan_id, count(*) AS subjects FROM taken t LEFT JOIN profiles p ON p.subject = t.subject GROUP BY t.step, p.plan_id
ORDER BY p.plan_id NULLS FIRST, t.step;
