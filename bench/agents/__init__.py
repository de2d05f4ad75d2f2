"""The ledger of agents: recording a run beside inserts by hand, and reading it with a million steps stored."""
