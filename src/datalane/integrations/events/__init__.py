"""Events that other systems publish over HTTP, and the log of what became of each."""
