-- Who may call what. Everything not named here is for the verbs among themselves.

GRANT EXECUTE ON FUNCTION
    datalane.audit(text, text, text, jsonb, jsonb),
    datalane.erase_audit_details(uuid[], text),
    datalane.erase_person_from_audit(uuid, text[], text),
    datalane.admins_kinds(),
    datalane.operators_kinds(),
    datalane.enqueue(text, jsonb, text, integer, timestamptz, text, text, integer),
    datalane.enqueue_batch(text[], jsonb[], text[], integer[], timestamptz[], text[], text[], integer[], uuid, text, uuid, integer, timestamptz),
    datalane.enqueue_job(text, jsonb, text, integer, timestamptz, integer, uuid, text, uuid, integer, timestamptz),
    datalane.publish_event(text, jsonb, integer, text, text, text, timestamptz, uuid, text, uuid, integer, boolean, interval, timestamptz),
    datalane.publish(text, jsonb, integer, text, text, text, timestamptz),
    datalane.publish_batch(text[], integer[], jsonb[], text[], text[], text[], timestamptz[], uuid, text, uuid, integer, boolean, interval, timestamptz),
    datalane.record_rejection(text, text, text, text, text, timestamptz),
    datalane.complete_jobs(uuid[], bigint[], timestamptz),
    datalane.complete_job(uuid, bigint, timestamptz),
    datalane.fail_job_here(uuid, bigint, text, text, interval, timestamptz),
    datalane.retry_jobs(uuid[], timestamptz),
    datalane.replay_jobs(uuid[], timestamptz),
    datalane.cancel_jobs(uuid[], timestamptz),
    datalane.skip_job(uuid, timestamptz),
    datalane.pause_jobs(text),
    datalane.resume_jobs(text)
TO datalane_app;

GRANT EXECUTE ON FUNCTION
    datalane.claim_jobs(text[], integer, interval, text, uuid, text, integer, timestamptz),
    datalane.finish_jobs(uuid[], uuid[], bigint[], timestamptz),
    datalane.fail_job(uuid, uuid, bigint, text, text, interval, timestamptz),
    datalane.postpone_job(uuid, uuid, bigint, text, text, interval, timestamptz),
    datalane.release_jobs(uuid[], uuid[], bigint[], timestamptz),
    datalane.extend_leases(uuid[], uuid[], bigint[], interval, timestamptz),
    datalane.rescue_jobs(integer, integer, timestamptz),
    datalane.reclaim_jobs(text, uuid[], uuid[], integer, interval, timestamptz),
    datalane.register_job_kind(text, integer),
    datalane.register_event_type(text, integer, jsonb),
    datalane.register_event_handler(text, text, boolean),
    datalane.pause_kind_everywhere(text, uuid, text),
    datalane.resume_kind_everywhere(text, uuid, text),
    datalane.due_schedules(integer, timestamptz),
    datalane.fire_schedule(uuid, text, timestamptz, timestamptz, text, timestamptz),
    datalane.next_due()
TO datalane_worker;

GRANT EXECUTE ON FUNCTION
    datalane.count_jobs(timestamptz),
    datalane.forget_old_keys(interval, integer, timestamptz),
    datalane.unsealed_workspaces(uuid, integer),
    datalane.seal_audit(uuid, integer, timestamptz)
TO datalane_maintenance;
