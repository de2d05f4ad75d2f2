-- name: record_signals(signals, actor_id, correlation_id, causation_id, causation_depth, now)
-- Take signals down, each once, and settle.
SELECT source_system, source_event_id, receipt, outcome, reason
FROM datalane.record_access_signals(:signals, :actor_id, :correlation_id, :causation_id, :causation_depth, :now) ORDER BY ordinal;

-- name: settle(reassign, actor_id, correlation_id, causation_id, causation_depth, now)^
-- Settle what was told.
SELECT state, changed, sync_error
FROM datalane.settle_demo_access(:reassign, :actor_id, :correlation_id, :causation_id, :causation_depth, :now);

-- name: release_signals(source_system, source_event_id, told_by, note, now)$
-- Give signals that are held their place.
SELECT datalane.release_access_signals(:source_system, :source_event_id, :told_by, :note, :now);

-- name: lock_access()$
-- Nobody settles until the transaction ends; answers the time.
SELECT datalane.lock_demo_access();

-- name: note_difference(difference, again, now)!
-- Keep what a reconciling found, and ask for the next one after a time.
SELECT datalane.note_access_difference(:difference, :again, :now);

-- name: get_access(workspace_id)^
-- The access as it was written down last.
SELECT state, plan_id, since, ends_at, grace_seconds, next_at, source_system, source_event_id, source_version, assigned_plan_id,
       assigned_status, assigned_until, sync_error, difference, last_synced_at, version, updated_at
FROM datalane.demo_access WHERE workspace_id = :workspace_id;

-- name: count_waiting(workspace_id)^
-- How many signals wait to be released, and how many for their time.
SELECT count(*) FILTER (WHERE held IS NOT NULL) AS held, count(*) FILTER (WHERE outcome = 'ahead') AS ahead
FROM datalane.access_signals WHERE workspace_id = :workspace_id;

-- name: list_signals(workspace_id, only_held, page_size)
-- What was told, the last that came first.
SELECT source_system, source_event_id, signal, state, plan_id, occurred_at, source_version, ends_at, grace_seconds, held, late,
       outcome, reason, conflicts, conflicting, received_at, correlation_id
FROM datalane.access_signals
WHERE workspace_id = :workspace_id AND (held IS NOT NULL OR NOT :only_held)
ORDER BY received_at DESC, source_system, source_event_id LIMIT :page_size;

-- name: read_notes(source_systems, source_event_ids)
-- Who told signals, or released them, and why.
SELECT source_system, source_event_id, done, told_by, note
FROM datalane.read_access_notes(:source_systems, :source_event_ids);

-- name: read_signals(workspace_id)
-- All that has a place.
SELECT source_system, source_event_id, signal, state, plan_id, occurred_at, source_version, ends_at, grace_seconds, outcome, reason
FROM datalane.access_signals WHERE workspace_id = :workspace_id AND held IS NULL;

-- name: list_history(workspace_id, before, page_size)
-- Changes, the newest row first, with those that were superseded.
SELECT history_id, ordinal, from_state, to_state, plan_id, ends_at, grace_seconds, why, source_system, source_event_id, at, recorded_at,
       superseded_at, correlation_id, actor_id
FROM datalane.access_history
WHERE workspace_id = :workspace_id AND (:before::uuid IS NULL OR history_id < :before)
ORDER BY history_id DESC LIMIT :page_size;

-- name: read_history(workspace_id)
-- The changes that hold, in their order.
SELECT ordinal, from_state, to_state, plan_id, ends_at, grace_seconds, why, source_system, source_event_id, at
FROM datalane.access_history WHERE workspace_id = :workspace_id AND superseded_at IS NULL ORDER BY ordinal;
