"""Items: the things that are worked on."""
