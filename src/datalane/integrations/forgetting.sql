-- name: forget_webhook_deliveries(kept, most, now)$
-- Deliveries that ended or are held, with their attempts.
SELECT datalane.forget_webhook_deliveries(:kept, :most, :now);

-- name: forget_held_deliveries(kept, most, now)$
-- Deliveries that came in, were held and are decided.
SELECT datalane.forget_held_deliveries(:kept, :most, :now);

-- name: forget_connector_history(kept, most, now)$
-- Lines of the history of connectors.
SELECT datalane.forget_connector_history(:kept, :most, :now);
