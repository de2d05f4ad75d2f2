-- name: close(most, now)$
-- Periods that are over.
SELECT datalane.close_usage_periods(:most, :now);

-- name: expire(most, now)$
-- Reservations that nobody has settled.
SELECT datalane.expire_usage_reservations(:most, :now);

-- name: forget(kept, most, now)$
-- Periods that closed long since.
SELECT datalane.forget_usage(:kept, :most, :now);
