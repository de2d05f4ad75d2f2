"""The life of a note."""

from datalane.kit.lifecycle import Lifecycle

NOTE = Lifecycle("note", "open", {"open": frozenset({"done"}), "done": frozenset({"open"})})
