"""What HTML pages of plotly figures share: they need no network, and no script runs in them but their own.

A page holds plotly's JavaScript, its figures as JSON, and `page.js`, which draws them. The content-security policy
names the two scripts by hash and allows no connection: markup that slipped in could neither run nor call home. Text of
documents and replies goes through `hover` before it reaches a figure: plotly reads tags in hover texts.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import textwrap
from importlib.resources import files
from typing import Any

from equal_hf.errors import MissingDependencyError
from equal_hf.utils.markdown import visible

HOVER_CHARACTERS, HOVER_WIDTH = 280, 60

Figure = dict[str, Any]


def render_page(template: str, figures: dict[str, Figure], **context: Any) -> str:
    """A page: `frame.html`, with policy, style, figures and scripts, around what a jinja template says.

    Args:
        template (`str`): The template: it extends `"frame"`, with the blocks `title` and `main`. Everything put into
            it is escaped.
        figures (`dict[str, Figure]`): By the name under which the template has a box for it.
        **context: What else the template shows.

    Raises:
        [`MissingDependencyError`]: If plotly is not installed.
    """
    from jinja2 import DictLoader, Environment, StrictUndefined
    from markupsafe import Markup

    graph_objects()
    from plotly.offline import get_plotlyjs

    frame = DictLoader({"frame": _asset("frame.html")})
    environment = Environment(
        loader=frame, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= context.pop("filters", {})
    plotly, script = _script(get_plotlyjs()), _script(_asset("page.js"))
    return environment.from_string(template).render(
        style=Markup(_asset("page.css")),
        plotly=plotly,
        script=script,
        policy=_policy(plotly, script),
        figures=figures,
        **context,
    )


def hover(text: str, limit: int = HOVER_CHARACTERS) -> str:
    """Untrusted text for a hover box: shortened, in lines, with nothing in it that is read as a tag.

    >>> hover("a <b>bold</b> claim")
    'a &lt;b&gt;bold&lt;/b&gt; claim'
    """
    plain = " ".join(visible(text).split())
    plain = plain if len(plain) <= limit else plain[: limit - 1] + "…"
    return "<br>".join(html.escape(line) for line in textwrap.wrap(plain, HOVER_WIDTH))


def plain_figure(figure: Any) -> Figure:
    """A figure of plotly's, checked by it, as JSON types and without its colours: the page has its own."""
    figure.update_layout(
        template="none",
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return dict(json.loads(figure.to_json()))


def graph_objects() -> Any:
    """`plotly.graph_objects`.

    Raises:
        [`MissingDependencyError`]: If plotly is not installed.
    """
    try:
        import plotly.graph_objects as graph
    except ImportError as error:
        raise MissingDependencyError(
            'figures are drawn with plotly, which is not installed: pip install "equal-hf[report]"'
        ) from error
    return graph


def _policy(*scripts: str) -> str:
    """A content-security policy under which these scripts run and nothing else does."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode('utf-8')).digest()).decode()}'" for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; form-action 'none'"
        "; base-uri 'none'"
    )


def _script(text: str) -> str:
    """A script as a browser reads it from the page, which is what its hash is taken of."""
    from markupsafe import Markup

    if "</script" in text.lower() or "<!--" in text:
        raise ValueError("a script holds what would end it in a page")
    return Markup(text.replace("\r\n", "\n").replace("\r", "\n"))


def _asset(name: str) -> str:
    return files("equal_hf.report").joinpath(name).read_text(encoding="utf-8")
