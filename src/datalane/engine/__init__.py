"""Events, jobs, audit and search postings: SQL verbs and the worker loops over them."""
