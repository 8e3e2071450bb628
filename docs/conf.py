"""Settings of Sphinx. `uv run --group docs sphinx-build -W -c docs . docs/_build` builds the repository's pages."""

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

import hypercolumns

project = "Hypercolumns"
author = "The hypercolumns authors"
version = release = hypercolumns.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/appendix/*.md", "benchmarks/README.md"]
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!hypercolumns\.).*"),  # other projects' names: their inventories need a network
    ("py:class", r".*\.[A-Z]"),  # type variables
]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # links to headings, as GitHub makes them

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_use_ivar = True  # attributes in the docstring and in the class body are the same ones
napoleon_use_rtype = False

html_theme = "furo"
templates_path = ["_templates"]
html_additional_pages = {"index": "redirect.html"}  # the root page is docs/index.html
html_title = f"{project} {version}"
html_math_renderer = "mathml"  # the default is a script from the network


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(latex2mathml.tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def _block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(latex2mathml.tex2mathml(node.astext(), as_block=True))
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Show equations as MathML, which browsers draw without a script.

    Args:
        app: Sphinx.
    """
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
