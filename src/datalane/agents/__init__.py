"""What agents run with, what they did, and what it cost."""
