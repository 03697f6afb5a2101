"""Places of clusters on the map: projected once for the same clusters, and outside the process that trains.

t-SNE of 1,000 clusters takes some 14 seconds of one core, in which Python code of the same process hardly runs.
"""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from equal_hf.errors import EqualError
from equal_hf.report.corpus_map import project
from equal_hf.utils.files import write_file
from equal_hf.utils.hashing import content_hash

logger = logging.getLogger(__name__)

MIN_FOR_PROCESS = 250  # clusters; below, starting a process takes longer than the projection
VERSION = 1  # of the projection: what an earlier one kept is not used
_TIMEOUT_S = 1800
_CHILD = "from equal_hf.report.projection import main; main()"


def cluster_points(means: np.ndarray, folder: Path) -> np.ndarray:
    """Places of cluster means on a plane, shape `(k, 2)`, in the unit square.

    Args:
        means (`np.ndarray` of shape `(k, d)`): Mean embeddings.
        folder (`Path`): Where places are kept, under a hash of the means: the run folder.
    """
    means = np.ascontiguousarray(means, dtype=np.float64)
    key = content_hash(f"{VERSION} {means.shape}".encode() + means.tobytes(), 32)
    path = folder / f".cluster_map-{key}.npy"
    try:
        points = np.load(path, allow_pickle=False)
        if points.shape == (len(means), 2):
            return points
    except (OSError, ValueError, EOFError):
        pass  # not there, or not whole
    points = project(means) if len(means) < MIN_FOR_PROCESS else _in_another_process(means)
    try:
        write_file(path, _to_bytes(points))
        for other in folder.glob(".cluster_map-*.npy"):
            if other != path:
                other.unlink(missing_ok=True)
    except (EqualError, OSError) as error:
        logger.info("The places of the cluster map are not kept: %s", error)
    return points


def _in_another_process(means: np.ndarray) -> np.ndarray:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], input=_to_bytes(means), capture_output=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode:
        logger.warning("The cluster map is projected in this process, as another one failed: %s", done.stderr[-500:])
        return project(means)
    return np.load(io.BytesIO(done.stdout), allow_pickle=False)


def main() -> None:
    """Project what standard input holds, at low priority."""
    if hasattr(os, "nice"):
        os.nice(10)
    sys.stdout.buffer.write(_to_bytes(project(np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False))))


def _to_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
