"""What keeps the lane sound: proofs and checks over the domains and the database."""
