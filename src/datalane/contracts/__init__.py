"""What callers and stored rows agree on: the context, the event envelope, schemas."""
