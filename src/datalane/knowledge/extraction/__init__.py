"""Documents to text, chunks and vectors, in bounded child processes.

A hostile file may loop, allocate without end or crash the interpreter, so nothing of it is read in the process that
holds the database connections. `ExtractionPool` keeps a few long-lived children. A child

- is a fresh interpreter (`python -m`, not a fork): it inherits no connection, no secret and no thread;
- has its own session, limits on address space and CPU time, and no more environment than it needs;
- ends when its parent ends, by the kernel's signal and by the end of its pipe;
- answers in a plain format (JSON and raw arrays): a child taken over by its document cannot run code in the parent.

One message carries a whole batch. When the child hangs, dies or runs out of memory it is killed and replaced, and the
batch is redone one document at a time, so that only the guilty document fails. Put documents of one workspace only
into a batch: what shares a process shares its fate.
"""

from datalane.knowledge.extraction.pool import ExtractionPool, ExtractionUnavailable
from datalane.knowledge.extraction.types import Extracted, Failure, Source

__all__ = ["Extracted", "ExtractionPool", "ExtractionUnavailable", "Failure", "Source"]
