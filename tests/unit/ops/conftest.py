from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.ops.revision_folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def whole_folder(tmp_path: Path) -> Folder:
    """All revisions of the lane."""
    return Folder(tmp_path, whole=True)
