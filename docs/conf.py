"""Settings of the documentation. `make docs` builds it without a network; a warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

from dsvd_registry import __version__  # noqa: E402 - found by the line above

project = "dsvd-registry"
author = "the dsvd-registry authors"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docstrings",
    "generated",
    "repository_pages",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Docstrings quote code in single backticks, as the rest of the project does.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# Pages of the site whose text stands elsewhere in the repository, each in one place only.
repository_pages = {
    "security": "SECURITY.md",
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
    "benchmarks": "benchmarks/RESULTS.md",
    "formats/container": "spec/dsvd-container-v1.md",
    "formats/residual": "spec/dsvd-residual-v1.md",
    "formats/store": "spec/dsvd-store-v2.md",
}

smartquotes = False  # options begin with two hyphens

html_theme = "furo"
html_title = f"dsvd-registry {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
