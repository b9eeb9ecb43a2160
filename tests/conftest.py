"""A home of the tests' own: nothing outside the clone is read or changed, no cluster but their own is used."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# The same examples on every machine, so that a change is judged by what it did; `make fuzz` draws new ones.
FUZZ = int(os.environ.get("FUZZ", "1"))
hypothesis.settings.register_profile("reproducible", derandomize=FUZZ == 1, deadline=None, database=None)
hypothesis.settings.load_profile("reproducible")


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    # A shell that starts the tests in the background has them ignore Ctrl-C, and with them all that they start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("DLCLUSTER_HOME", str(home / "dlcluster"))
        for name in [*os.environ]:
            if name.startswith(("AWS_", "DLCLUSTER_STORAGE", "DLCLUSTER_ADDRESS", "RAY_")):
                patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield home
