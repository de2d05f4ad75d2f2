DROP FUNCTION datalane.complete_job;
