"""What a version, a price or a tool has touched, for whoever takes it back."""
