-- name: forget_artifacts(kept, most, now)$
-- What runs that ended were given and have answered.
SELECT datalane.forget_agent_artifacts(:kept, :most, :now);

-- name: forget_runs(kept, most, now)$
-- Runs that ended, with all that belongs to them.
SELECT datalane.forget_agent_runs(:kept, :most, :now);

-- name: forget_effects(kept, most, now)$
-- What tools did, with the keys that keep it from being done again.
SELECT datalane.forget_agent_effects(:kept, :most, :now);
