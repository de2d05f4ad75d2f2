"""Whether a process records traces or passes them on, chosen once at its start."""

from __future__ import annotations

from typing import Literal

from datalane.kit import tracing

Mode = Literal["pass_on", "record"]


def configure_tracing(mode: Mode, service: str = "datalane") -> None:
    """Choose what happens to traces in this process; the first who wants to record has chosen for all.

    Raises `ConfigurationError` when recording needs packages that are not installed.
    """
    if mode == "record" and not tracing.records():
        from datalane.kit.recording import start_recording  # few ask for it, and it takes long to load

        tracing.use(start_recording(service))
