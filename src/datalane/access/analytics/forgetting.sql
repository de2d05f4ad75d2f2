-- name: forget_events(kept, most, now)$
-- Events.
SELECT datalane.forget_analytics_events(:kept, :most, :now);

-- name: forget_held(kept, most, now)$
-- What was held back.
SELECT datalane.forget_analytics_quarantine(:kept, :most, :now);

-- name: forget_anomalies(kept, most, now)$
-- Anomalies that were resolved.
SELECT datalane.forget_integrity_anomalies(:kept, :most, :now);
