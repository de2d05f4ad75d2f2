"""What the engine lets whom do."""

from datalane.contracts.authorization import MATRIX
from datalane.contracts.context import Role

PUBLISH = MATRIX.allow(
    Role.MEMBER,
    "event.publish",
    needs=["datalane.publish_batch", "datalane.publish_event", "datalane.record_rejection"],
)
READ_EVENTS = MATRIX.allow(
    Role.VIEWER, "event.read", needs=["datalane.events:select", "datalane.event_ingestion:select"]
)
SUBSCRIBE = MATRIX.allow(Role.MEMBER, "subscription.change", needs=["datalane.subscriptions:update"])
ENQUEUE = MATRIX.allow(Role.MEMBER, "job.enqueue", needs=["datalane.enqueue_batch", "datalane.enqueue_job"])
FINISH_JOBS = MATRIX.allow(
    Role.MEMBER, "job.finish", needs=["datalane.complete_job", "datalane.complete_jobs", "datalane.fail_job_here"]
)
READ_JOBS = MATRIX.allow(
    Role.VIEWER,
    "job.read",
    needs=[f"datalane.{table}:select" for table in ("jobs", "job_history", "job_transitions", "job_pauses")],
)
OPERATE_JOBS = MATRIX.allow(
    Role.ADMIN,
    "job.operate",
    needs=[
        f"datalane.{verb}"
        for verb in ("retry_jobs", "replay_jobs", "cancel_jobs", "skip_job", "pause_jobs", "resume_jobs")
    ],
)
# Jobs by which the lane does to a workspace what its admins might rather not have done: `datalane.operators_kinds`.
OPERATE_LANES_JOBS = MATRIX.allow(Role.SYSTEM, "job.operate_lanes")
SCHEDULE = MATRIX.allow(
    Role.MEMBER, "schedule.change", needs=["datalane.job_schedules:insert", "datalane.job_schedules:update"]
)
READ_SCHEDULES = MATRIX.allow(Role.VIEWER, "schedule.read", needs=["datalane.job_schedules:select"])
REMOVE_SCHEDULE = MATRIX.allow(Role.ADMIN, "schedule.delete", needs=["datalane.job_schedules:delete"])
RECORD_AUDIT = MATRIX.allow(Role.VIEWER, "audit.record", needs=["datalane.audit"])
READ_AUDIT = MATRIX.allow(
    Role.VIEWER,
    "audit.read",
    needs=[f"datalane.{table}:select" for table in ("audit_log", "audit_details", "audit_seals")],
)
ERASE_AUDIT = MATRIX.allow(
    Role.OWNER, "audit.erase", needs=["datalane.erase_audit_details", "datalane.erase_person_from_audit"]
)
