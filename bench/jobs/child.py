"""One measurement in a process of its own: ``python -m bench.jobs.child NAME ACTION DSN COUNT BATCH``.

The last line on standard output is the result as JSON. Actions: install, publish, fill, fill-spread, backlog, effect,
claim, latency (starts a second process with ``serve``) and serve.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import subprocess
import sys
import time
from typing import Any

from bench.jobs.contender import Contender
from bench.jobs.finish import wait_until_none_unfinished
from bench.jobs.registry import load_contender

_WARM_UP_JOBS = 10


def main(arguments: list[str]) -> None:
    """Run one action and print its result."""
    name, action, dsn, count, batch = arguments
    contender = load_contender(name)(dsn)
    gc.collect()
    result = _act(contender, action, int(count), int(batch))
    print(json.dumps(result), flush=True)


def _act(contender: Contender, action: str, count: int, batch: int) -> dict[str, Any]:
    match action:
        case "install":
            contender.install()
            return {}
        case "publish":
            return {"seconds": contender.publish(count, batch)}
        case "fill" | "fill-spread":
            contender.fill(count, batch, spread=action == "fill-spread")
            return {}
        case "backlog" | "effect":
            drain = contender.drain(count, effect=action == "effect")
            return {"seconds": drain.seconds, "handled": drain.handled}
        case "claim":
            return {"seconds": contender.claim(count, batch)}
        case "latency":
            return _measure_latency(contender, count)
        case "serve":
            contender.serve(lambda: _report(-1), _report)
            return {}
        case _:
            raise SystemExit(f"unknown action {action!r}")


def _report(n: int) -> None:
    """Tell the producer process that handler ``n`` has started (CLOCK_MONOTONIC is one clock for both)."""
    sys.stdout.write(f"{n} {time.monotonic_ns()}\n")
    sys.stdout.flush()


def _measure_latency(contender: Contender, count: int) -> dict[str, Any]:
    """Milliseconds to handler start for ``count`` single jobs, from the enqueue call's begin and from its return."""
    command = [sys.executable, "-m", "bench.jobs.child", contender.name, "serve", contender.dsn, "0", "0"]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    gaps = random.Random(1)
    from_call: list[float] = []
    from_return: list[float] = []
    try:
        _read_start(worker, -1)
        with contender.open_producer() as enqueue:
            for n in range(_WARM_UP_JOBS + count):
                time.sleep(gaps.uniform(0.005, 0.05))
                called = time.monotonic_ns()
                enqueue(n)
                returned = time.monotonic_ns()
                started = _read_start(worker, n)
                if n >= _WARM_UP_JOBS:
                    from_call.append((started - called) / 1e6)
                    from_return.append((started - returned) / 1e6)
        asyncio.run(wait_until_none_unfinished(contender.dsn, contender.tally_sql))
    finally:
        worker.kill()
        worker.wait()
    return {"from_call_ms": from_call, "from_return_ms": from_return, "jobs": _WARM_UP_JOBS + count}


def _read_start(worker: subprocess.Popen[str], expected: int) -> int:
    """Nanoseconds at which the handler of job ``expected`` started; a wrong number means lost or repeated work."""
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError("the worker process ended before it ran the job")
    n, at = line.split()
    if int(n) != expected:
        raise RuntimeError(f"expected job {expected} to start, but job {n} did")
    return int(at)


if __name__ == "__main__":
    main(sys.argv[1:])
