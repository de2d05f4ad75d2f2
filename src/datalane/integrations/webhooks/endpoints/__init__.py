"""Where a workspace wants its events delivered, and what the deliveries are signed with."""
