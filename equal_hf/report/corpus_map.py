"""The corpus map: clusters as circles, placed by the direction of their mean embedding, area by size.

Places are t-SNE of the cluster means (van der Maaten and Hinton 2008), started from their principal components, so the
same corpus gives the same map. `map/map.png` is for the card, `map/map.html` for looking around in, without a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from equal_hf.corpus.keywords import ClusterWords
from equal_hf.corpus.profiles import ClusterProfiles
from equal_hf.errors import MissingDependencyError
from equal_hf.report.html import graph_objects, hover, plain_figure, render_page
from equal_hf.utils.files import replacing, write_file

FOLDER = "map"
MOST_FOR_TSNE = 5_000
PAGE_PIXELS = 720
LABELS = 25
LABEL_SIZE = np.array([0.2, 0.02])  # of the map's width and height


def check_installed() -> None:
    """Raise [`MissingDependencyError`] where what draws the map is not installed."""
    try:
        import matplotlib  # noqa: F401
        import plotly  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            'The corpus map needs matplotlib and plotly: pip install "equal-hf[report]", or set `corpus_map` to false.'
        ) from error


def draw_map(
    folder: Path, profiles: ClusterProfiles, words: Sequence[ClusterWords], terms: Sequence[Sequence[str]]
) -> list[Path]:
    """Draw the map into a corpus folder.

    Args:
        folder (`Path`): The corpus folder.
        profiles ([`ClusterProfiles`]): Sizes and means.
        words (`Sequence[ClusterWords]`): Titles.
        terms (`Sequence[Sequence[str]]`): What sets each cluster apart.

    Returns:
        `list[Path]`: `map/map.png` and `map/map.html`.
    """
    points = project(profiles.mean)
    radii = 0.5 * np.sqrt(profiles.count / profiles.count.sum())  # all areas together are about that of the map
    picture, page = folder / FOLDER / "map.png", folder / FOLDER / "map.html"
    with replacing(picture) as temporary:
        _draw(points, radii, terms, temporary)
    write_file(page, _page(points, radii, words, terms))
    return [picture, page]


def project(means: np.ndarray) -> np.ndarray:
    """Places of cluster means on a plane, shape `(k, 2)`, in the unit square.

    Args:
        means (`np.ndarray` of shape `(k, d)`): Mean embeddings.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # sums in another order would move the circles
        return _project(means)


def _project(means: np.ndarray) -> np.ndarray:
    centred = means.astype(np.float64) - means.mean(axis=0, dtype=np.float64)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(means), 2))
    points[:, : min(2, len(scale))] = (left * scale)[:, :2]
    # The sign of a component is arbitrary.
    signs = np.sign(points[np.abs(points).argmax(axis=0), [0, 1]])
    points *= np.where(signs == 0, 1, signs)
    if 10 <= len(means) <= MOST_FOR_TSNE and scale[0] > 0:
        from sklearn.manifold import TSNE

        start = points / (points[:, 0].std() or 1.0) * 1e-4
        perplexity = min(30.0, (len(means) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, init=start.astype(np.float32), random_state=0, n_jobs=1)
        points = tsne.fit_transform(centred.astype(np.float32))
    low, high = points.min(axis=0), points.max(axis=0)
    return np.asarray((points - low) / np.where(high > low, high - low, 1.0), dtype=np.float64)


def _draw(points: np.ndarray, radii: np.ndarray, terms: Sequence[Sequence[str]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import EllipseCollection
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 10), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    widths = 2 * radii
    circles = EllipseCollection(
        widths, widths, np.zeros(len(radii)), units="xy", offsets=points, transOffset=axes.transData, alpha=0.5
    )
    circles.set_facecolor([_colour(point) for point in points])
    circles.set_edgecolor("white")
    axes.add_collection(circles)
    labelled: list[np.ndarray] = []
    for cluster in np.argsort(-radii, kind="stable")[:LABELS]:
        if any((np.abs(points[cluster] - point) < LABEL_SIZE).all() for point in labelled):
            continue  # a larger cluster's label stands there
        labelled.append(points[cluster])
        label = ", ".join(terms[cluster][:3]).replace("$", r"\$")
        axes.text(float(points[cluster, 0]), float(points[cluster, 1]), label, ha="center", va="center", fontsize=7)
    axes.set_xlim(-0.08, 1.08)
    axes.set_ylim(-0.08, 1.08)
    axes.set_axis_off()
    figure.savefig(path, format="png", metadata={"Software": None})


def _colour(point: np.ndarray) -> tuple[float, float, float]:
    import colorsys

    angle = (np.arctan2(point[1] - 0.5, point[0] - 0.5) / (2 * np.pi)) % 1.0
    return colorsys.hls_to_rgb(float(angle), 0.55, 0.6)


def _page(points: np.ndarray, radii: np.ndarray, words: Sequence[ClusterWords], terms: Sequence[Sequence[str]]) -> str:
    figure = graph_objects().Figure()
    figure.add_scatter(
        x=points[:, 0].round(4).tolist(),
        y=points[:, 1].round(4).tolist(),
        mode="markers",
        marker={
            "size": (PAGE_PIXELS * 2 * radii).round(1).tolist(),
            "color": ["#" + "".join(f"{round(255 * part):02x}" for part in _colour(point)) for point in points],
            "opacity": 0.5,
        },
        hovertext=[_about(cluster, words_of) for cluster, words_of in zip(words, terms, strict=True)],
        hoverinfo="text",
    )
    hidden = {"visible": False}
    figure.update_layout(xaxis=hidden, yaxis=hidden, height=PAGE_PIXELS, hovermode="closest", dragmode="pan")
    return render_page(
        _TEMPLATE, {"map": plain_figure(figure)}, clusters=len(words), documents=sum(c.documents for c in words)
    )


def _about(cluster: ClusterWords, terms: Sequence[str]) -> str:
    said = [f"<b>cluster {cluster.cluster}</b>", f"{cluster.documents:,} documents", hover(", ".join(terms))]
    return "<br>".join([*said, *("· " + hover(title) for title in cluster.titles)])


_TEMPLATE = """{% extends "frame" %}
{% block title %}{{ clusters }} clusters{% endblock %}
{% block main %}
<h1>{{ "{:,}".format(documents) }} documents in {{ "{:,}".format(clusters) }} clusters</h1>
<p class="lead">Clusters that are alike lie near each other; area by size. Point at one to see what it holds; drag to
move, double-click to come back.</p>
<div class="figure" data-figure="map" data-zoom="yes" role="img" aria-label="Map of the clusters"></div>
{% endblock %}
"""
