"""One supervisor for the whole lane: Postgres, API, workers, maintenance. It restarts what dies and drains on stop.

The supervisor is one thread around one `select`: it sleeps until a signal arrives (a child died, somebody wants it to
stop), a child says that it is ready, or a restart is due. Children never outlive it.
"""
