"""The chaos benchmark at a small scale, as part of the tests."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.servers import ROOT


def test_sixty_documents_survive_faults_kills_and_restarts() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.chaos", "--documents", "60", "--limit-s", "200"]
    command += ["--part", "requests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.stdout, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, result["promises"]
    assert (result["lost"], result["double_paid"], result["over_budget"]) == (0, 0, 0)
