"""The corpus map: clusters as circles, placed by the direction of their mean embedding, area by size.

Places are t-SNE of the cluster means (van der Maaten and Hinton 2008), started from their principal components, so the
same corpus gives the same map. `map/map.png` is for the card, `map/map.html` for looking around in, without a network.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from equal_hf.corpus.profiles import ClusterProfiles
from equal_hf.corpus.records import replacing
from equal_hf.corpus.terms import ClusterWords
from equal_hf.errors import MissingDependencyError

FOLDER = "map"
MOST_FOR_TSNE = 5_000
LABELS = 25
LABEL_SIZE = np.array([0.2, 0.02])  # of the map's width and height


def check_installed() -> None:
    """Raise [`MissingDependencyError`] where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            'The corpus map needs matplotlib: pip install "equal-hf[report]", or set `corpus_map` to false.'
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
    places = project(profiles.mean)
    radii = 0.5 * np.sqrt(profiles.count / profiles.count.sum())  # all areas together are about that of the map
    picture, page = folder / FOLDER / "map.png", folder / FOLDER / "map.html"
    with replacing(picture) as temporary:
        _draw(places, radii, terms, temporary)
    with replacing(page) as temporary:
        temporary.write_text(_page(places, radii, words, terms), encoding="utf-8")
    return [picture, page]


def project(means: np.ndarray) -> np.ndarray:
    """Places of cluster means on a plane, shape `(k, 2)`, in the unit square.

    Args:
        means (`np.ndarray` of shape `(k, d)`): Mean embeddings.
    """
    centred = means.astype(np.float64) - means.mean(axis=0, dtype=np.float64)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(means), 2))
    places[:, : min(2, len(scale))] = (left * scale)[:, :2]
    # The sign of a component is arbitrary.
    signs = np.sign(places[np.abs(places).argmax(axis=0), [0, 1]])
    places *= np.where(signs == 0, 1, signs)
    if 10 <= len(means) <= MOST_FOR_TSNE and scale[0] > 0:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits

        start = places / (places[:, 0].std() or 1.0) * 1e-4
        with threadpool_limits(1):  # sums in another order would move the circles
            perplexity = min(30.0, (len(means) - 1) / 3)
            places = TSNE(
                perplexity=perplexity, init=start.astype(np.float32), random_state=0, n_jobs=1
            ).fit_transform(centred.astype(np.float32))
    low, high = places.min(axis=0), places.max(axis=0)
    return np.asarray((places - low) / np.where(high > low, high - low, 1.0), dtype=np.float64)


def _draw(places: np.ndarray, radii: np.ndarray, terms: Sequence[Sequence[str]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import EllipseCollection
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 10), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    widths = 2 * radii
    circles = EllipseCollection(
        widths, widths, np.zeros(len(radii)), units="xy", offsets=places, transOffset=axes.transData, alpha=0.5
    )
    circles.set_facecolor([_colour(place) for place in places])
    circles.set_edgecolor("white")
    axes.add_collection(circles)
    labelled: list[np.ndarray] = []
    for cluster in np.argsort(-radii, kind="stable")[:LABELS]:
        if any((np.abs(places[cluster] - place) < LABEL_SIZE).all() for place in labelled):
            continue  # a larger cluster's label stands there
        labelled.append(places[cluster])
        label = ", ".join(terms[cluster][:3]).replace("$", r"\$")
        axes.text(float(places[cluster, 0]), float(places[cluster, 1]), label, ha="center", va="center", fontsize=7)
    axes.set_xlim(-0.08, 1.08)
    axes.set_ylim(-0.08, 1.08)
    axes.set_axis_off()
    figure.savefig(path, format="png", metadata={"Software": None})


def _colour(place: np.ndarray) -> tuple[float, float, float]:
    import colorsys

    angle = (np.arctan2(place[1] - 0.5, place[0] - 0.5) / (2 * np.pi)) % 1.0
    return colorsys.hls_to_rgb(float(angle), 0.55, 0.6)


def _page(places: np.ndarray, radii: np.ndarray, words: Sequence[ClusterWords], terms: Sequence[Sequence[str]]) -> str:
    circles = [
        {
            "x": round(1000 * float(x), 1),
            "y": round(1000 * (1 - float(y)), 1),
            "r": round(1000 * float(radius), 1),
            "c": "#" + "".join(f"{round(255 * part):02x}" for part in _colour(np.array([x, y]))),
            "cluster": cluster.cluster,
            "documents": cluster.documents,
            "terms": list(found),
            "titles": cluster.titles,
        }
        for (x, y), radius, cluster, found in zip(places, radii, words, terms, strict=True)
    ]
    # Texts come from documents: nothing in them can end the script, and the page only ever shows them as text.
    data = json.dumps(circles).replace("<", "\\u003c")
    return _PAGE.replace("@TITLE@", html.escape(f"{len(circles):,} clusters")).replace("@DATA@", data)


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>@TITLE@</title>
<style>
body { margin: 0; font: 14px system-ui, sans-serif; display: flex; height: 100vh }
svg { flex: 1; background: #fafafa; cursor: grab } circle { fill-opacity: .5; stroke: #fff }
circle.dim { fill-opacity: .06 }
circle.on { stroke: #000; stroke-width: 2 } aside { width: 22em; padding: 1em; overflow: auto } input { width: 95% }
</style>
<svg id="map" viewBox="-80 -80 1160 1160"></svg>
<aside><input id="find" placeholder="find a term or title"><h3 id="head">@TITLE@</h3>
<p id="terms"></p><ul id="titles"></ul>
<p>Scroll to zoom, drag to move, point at a circle.</p></aside>
<script>
const data = @DATA@, map = document.getElementById("map"), ns = "http://www.w3.org/2000/svg"
const shapes = data.map(d => {
  const c = document.createElementNS(ns, "circle")
  for (const [k, v] of [["cx", d.x], ["cy", d.y], ["r", d.r], ["fill", d.c]]) c.setAttribute(k, v)
  c.onmouseenter = () => show(d, c)
  return map.appendChild(c)
})
function show(d, c) {
  shapes.forEach(s => s.classList.toggle("on", s === c))
  head.textContent = `Cluster ${d.cluster}: ${d.documents.toLocaleString()} documents`
  terms.textContent = d.terms.join(", ")
  titles.replaceChildren(...d.titles.map(t => Object.assign(document.createElement("li"), { textContent: t })))
}
find.oninput = () => data.forEach((d, i) => shapes[i].classList.toggle("dim",
  !(d.terms.join(" ") + " " + d.titles.join(" ")).toLowerCase().includes(find.value.toLowerCase())))
let [x, y, w] = [-80, -80, 1160], from = null
const view = () => map.setAttribute("viewBox", `${x} ${y} ${w} ${w}`)
const scale = () => w / Math.min(map.clientWidth, map.clientHeight)
map.onwheel = e => { e.preventDefault(); const f = e.deltaY > 0 ? 1.15 : 1 / 1.15, v = w * f
  x += (w - v) / 2; y += (w - v) / 2; w = v; view() }
map.onpointerdown = e => { from = [e.clientX, e.clientY] }
window.onpointerup = () => { from = null }
map.onpointermove = e => { if (!from) return
  x -= (e.clientX - from[0]) * scale(); y -= (e.clientY - from[1]) * scale(); from = [e.clientX, e.clientY]; view() }
</script></html>
"""
