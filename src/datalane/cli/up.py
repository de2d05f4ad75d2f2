"""`datalane up`: the whole lane under one supervisor, in the foreground."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datalane.cli.output import AsJson, print_json
from datalane.db.home import Running
from datalane.settings import Settings, load_settings

if TYPE_CHECKING:
    from datalane.cli.demo_workspace import SignIn

_SENTENCES: dict[str, str] = {
    "starting": "starting the database, {services}",
    "started": "{service} is ready (pid {pid})",
    "recovered": "{service} is ready again (pid {pid})",
    "died": "{service} died ({how}), starting it again in {restart_in:.1f} s{last_words}",
    "not_started": "{service} did not start: {reason}",
    "stuck": "{service} was not ready after {seconds:.0f} s, starting it anew",
    "late": "{service} did not stop within {seconds:.0f} s and is killed",
    "no_maintenance": "DATALANE_MAINTENANCE_URL is not set: run `datalane maintenance` elsewhere",
    "stopping": "stopping; once more to stop at once",
    "killing": "stopping at once",
    "stopped": "stopped",
}


def up(
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port of the API; 0 takes a free one. [default: 8080]")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Number of worker processes.")] = 1,
    app: Annotated[str | None, typer.Option(help="Your lane with its handlers, as module:lane.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Load a demo workspace and print a sign-in.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start everything and keep it running: Postgres, API, workers, maintenance. Ctrl-C stops it cleanly."""
    from datalane.supervisor.up import Options, run_lane

    settings = load_settings(serving=True)
    if port is not None:
        settings.api.port = port
    report = _report_json if as_json else _report_text
    run_lane(settings, Options(workers=workers, app=app), report, _greeting(settings, demo, as_json))


def _greeting(settings: Settings, demo: bool, as_json: bool) -> Callable[[Running], None]:
    """What is printed, once, when everything answers."""

    def greet(running: Running) -> None:
        sign_in = _demo(settings, running) if demo else None
        if as_json:
            print_json(
                {
                    "event": "ready",
                    "url": running.url,
                    "pid": running.pid,
                    "home": str(settings.home.resolve()),
                    "processes": running.processes,
                    "sign_in": None if sign_in is None else asdict(sign_in),
                }
            )
            return
        typer.echo(f"\n  Datalane runs at {running.url}\n  API reference   {running.url}/docs")
        if sign_in is not None:
            typer.echo(f"  Sign in as      {sign_in.email}  password {sign_in.password}")
        typer.echo("  Ctrl-C stops it\n")

    return greet


def _demo(settings: Settings, running: Running) -> SignIn:
    from datalane.cli.demo_workspace import load_demo_workspace

    return load_demo_workspace(settings, running)


def _report_json(event: str, **fields: Any) -> None:
    print_json({"event": event, **fields})


def _report_text(event: str, **fields: Any) -> None:
    if "services" in fields:
        fields["services"] = ", ".join(fields["services"])
    if "exit_status" in fields:
        status = fields["exit_status"]
        fields["how"] = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        fields["last_words"] = f": {fields['last_words']}" if fields.get("last_words") else ""
    typer.echo(_SENTENCES[event].format(**fields), err=True)
