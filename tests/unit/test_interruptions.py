"""Ctrl-C counts, wherever the interpreter happens to be when it arrives."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from datalane.cli.demo import _Interruptions


class Anything:
    pass


def interrupt_inside_a_callback(number: signal.Signals) -> None:
    """The handler's exception is printed and dropped, as it is when an import's module lock goes away."""
    something = Anything()
    watched = weakref.ref(something, lambda _: os.kill(os.getpid(), number))
    del something
    assert watched() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_inside_a_weak_references_callback_is_lost_but_not_forgotten(number: signal.Signals) -> None:
    with pytest.raises(SystemExit) as ended, _Interruptions():
        interrupt_inside_a_callback(number)
    assert ended.value.code == 130


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_work_does_not_begin_after_an_interrupt_that_was_lost() -> None:
    begun = []

    async def main(interruptions: _Interruptions) -> None:
        with interruptions.cancelling():
            begun.append(True)

    def interrupted_before() -> None:
        with _Interruptions() as interruptions:
            interrupt_inside_a_callback(signal.SIGINT)
            asyncio.run(main(interruptions))

    with pytest.raises(SystemExit) as ended:
        interrupted_before()
    assert (begun, ended.value.code) == ([], 130)


def test_an_interrupt_cancels_what_runs_in_the_loop() -> None:
    ended_by: list[type[BaseException]] = []

    async def main(interruptions: _Interruptions) -> None:
        with interruptions.cancelling():
            os.kill(os.getpid(), signal.SIGTERM)
            try:
                await asyncio.get_running_loop().create_future()
            except BaseException as error:
                ended_by.append(type(error))
                raise

    with pytest.raises(SystemExit) as ended, _Interruptions() as interruptions:
        asyncio.run(main(interruptions))
    assert (ended_by, ended.value.code) == ([asyncio.CancelledError], 130)


IN_GENERATED_CODE = """
from datalane.cli.demo import _Interruptions
with _Interruptions():
    exec("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
"""


def test_an_interrupt_inside_generated_code_ends_with_our_status(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(IN_GENERATED_CODE)
    ended = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (130, b"stopped\n")


def test_the_handlers_that_were_there_before_come_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with _Interruptions():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
