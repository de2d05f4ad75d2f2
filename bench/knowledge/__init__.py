"""What knowledge costs and how good it is, each beside what one would take instead. See ``bench/README.md``."""
