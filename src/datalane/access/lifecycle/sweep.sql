-- name: sweep(most, patience, now)^
-- A job for each access that time has changed, or that is to be reconciled.
SELECT settling, reconciling FROM datalane.sweep_demo_access(:most, :patience, :now);
