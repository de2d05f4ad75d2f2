"""What people think of answers, citations and chunks."""
