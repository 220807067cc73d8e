"""Templates to pages that load nothing: styles and script inside, named by their hashes.

The content security policy of a page allows that one style sheet, that one script, and pictures
that are part of the page: whatever a file's name or a message holds, it stays text.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def page(template: str, **told: Any) -> bytes:
    """Return a page of a template as UTF-8 HTML; everything but our own style and script escaped.

    Args:
        template: `index` or `object`.
        told: What it tells.
    """
    css, js = _text("page.css"), _text("list.js")
    scripts = f"script-src {_hash(js)}; require-trusted-types-for 'script'"
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {_hash(css)}",
            scripts if template == "index" else "script-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    found = _environment().get_template(f"{template}.html.jinja")
    inside = {"css": Markup(css), "js": Markup(js)}  # noqa: S704 - our own files
    return found.render(policy=policy, **inside, **told).encode()


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("dfd_batch.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@functools.cache
def _text(name: str) -> str:
    return resources.files("dfd_batch.site").joinpath("templates", name).read_text("utf-8").strip()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
