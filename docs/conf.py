"""Sphinx: `make docs` builds this folder into build/docs, warnings as errors."""

import htr

project, author, release = "htr", "the htr authors", htr.__version__
copyright = "the htr authors, Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 2
html_theme, html_title = "furo", f"htr {release}"
html_theme_options = {"top_of_page_buttons": []}
exclude_patterns = ["samples"]
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and units stand in the docstrings
autodoc_default_options = {"members": True}
templates_path: list[str] = []
# code that a README shows beside an image, and addresses of other projects, are no links of ours
suppress_warnings = ["myst.xref_missing"]
