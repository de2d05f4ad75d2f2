"""What an operator proves and guards about a lane: above the domains, below the faces."""
