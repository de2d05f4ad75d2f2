DROP FUNCTION datalane.complete_job;
DROP FUNCTION datalane.enqueue_job;
