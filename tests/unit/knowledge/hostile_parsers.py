"""Parsers that misbehave, for extraction children in tests: the first word of the file says how."""

from __future__ import annotations

import ctypes
import json
import os
import resource
from pathlib import Path

from datalane.knowledge.parsing import Extraction, register_parser

MEDIA_TYPE = "application/x-hostile"


def register() -> None:
    register_parser(MEDIA_TYPE, (".hostile",), lambda: (misbehave, "hostile/1"))


def misbehave(data: bytes) -> Extraction:
    how, _, rest = data.decode().partition(" ")
    if how == "hang":
        while True:
            pass
    if how == "announce-and-hang":
        # Opening a FIFO for writing waits for its reader: both sides know that the child is at work.
        with Path(rest).open("w"):
            while True:
                pass
    if how == "allocate":
        hoard = []
        while True:
            hoard.append(bytearray(16 * 1024 * 1024))
    if how == "abort":
        os.abort()
    if how == "segfault":
        ctypes.string_at(0)
    if how == "exit":
        raise SystemExit(0)
    if how == "raise":
        raise RuntimeError(f"the document says {rest}")
    if how == "print":
        print("noise on standard output", flush=True)
    if how == "environment":
        return Extraction(json.dumps(dict(os.environ)))
    if how == "limits":
        return Extraction(json.dumps([resource.getrlimit(resource.RLIMIT_AS)[0], os.getsid(0) == os.getpid()]))
    return Extraction(f"{how} {rest}")
