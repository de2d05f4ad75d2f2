-- name: make_tables()!
-- The columns and the key of the lane's table, and nothing else.
DROP TABLE IF EXISTS public.bare_events;
CREATE TABLE public.bare_events (LIKE datalane.analytics_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
ALTER TABLE public.bare_events ADD PRIMARY KEY (workspace_id, source_event_id);
DROP TABLE IF EXISTS public.indexed_events;
CREATE TABLE public.indexed_events (LIKE datalane.analytics_events INCLUDING ALL);

-- name: seed(workspace_id, events)!
-- Events of one workspace over 90 days, of a twentieth as many subjects: four in ten see a page, two each fill a cart and place an order.
INSERT INTO datalane.analytics_events (
    workspace_id, source_event_id, event_name, event_version, occurred_at, received_at, subject, actor_id, correlation_id, plan_id,
    entitlement_snapshot, observed_snapshot, payload_validation_status, payload)
SELECT :workspace_id::uuid, 'seeded ' || n,
       (ARRAY['page.seen', 'page.seen', 'page.seen', 'page.seen', 'cart.filled', 'cart.filled', 'order.placed', 'order.placed', 'order.paid',
              'app.opened'])[1 + (hashint8(n) & 2147483647) % 10],
       1, '2026-09-01Z'::timestamptz + interval '90 days' * (n::float8 / :events::bigint), clock_timestamp(),
       'subject ' || (hashint8(n * 7) & 2147483647) % (:events::bigint / 20), :workspace_id::uuid, 'bench', (ARRAY['free', 'pro'])[1 + n % 2],
       '{"plan_id": "pro"}', NULL, 'valid', '{"source": "ad"}'
FROM generate_series(1, :events::bigint) AS n;

-- name: count_funnel(workspace_id)^
-- Three steps within seven days of entering in the range, as one would write it for a table of one's own.
WITH seen AS (
    SELECT subject, min(occurred_at) AS seen_at FROM datalane.analytics_events
    WHERE workspace_id = :workspace_id AND event_name = 'page.seen' AND occurred_at >= '2026-09-01Z' AND occurred_at < '2026-12-01Z'
    GROUP BY subject
), filled AS (
    SELECT s.subject, s.seen_at, min(e.occurred_at) AS filled_at FROM seen s JOIN datalane.analytics_events e USING (subject)
    WHERE e.workspace_id = :workspace_id AND e.event_name = 'cart.filled' AND e.occurred_at >= '2026-09-01Z' AND e.occurred_at < '2026-12-08Z'
      AND e.occurred_at >= s.seen_at AND e.occurred_at <= s.seen_at + interval '7 days'
    GROUP BY s.subject, s.seen_at
), placed AS (
    SELECT f.subject FROM filled f JOIN datalane.analytics_events e USING (subject)
    WHERE e.workspace_id = :workspace_id AND e.event_name = 'order.placed' AND e.occurred_at >= '2026-09-01Z' AND e.occurred_at < '2026-12-08Z'
      AND e.occurred_at >= f.filled_at AND e.occurred_at <= f.seen_at + interval '7 days'
    GROUP BY f.subject
)
SELECT (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM filled) AS filled, (SELECT count(*) FROM placed) AS placed;
