"""What `make docs` adds to the pages in `docs/`: those beside them at the top, a table of all options, the library's reference.

A hook of mkdocs; see `mkdocs.yml`.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from fastlog.config import OPTIONS, Option

ROOT = Path(__file__).parents[1]
AT_THE_TOP = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
REFERENCE = {
    "reference/core.md": ("fastlog._core",),
    "reference/client.md": ("fastlog.client.blocking", "fastlog.errors"),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files under `docs/`."""
    pages = {page: (ROOT / name).read_text().replace("](docs/", "](") for name, page in AT_THE_TOP.items()}
    pages["options.md"] = options_page()
    pages |= {page: "".join(f"::: {module}\n\n" for module in modules) for page, modules in REFERENCE.items()}
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))
    return files


def options_page() -> str:
    """Return the table of `fastlog/config.py` as a page."""
    head = "# Options\n\nNames are Kafka's; every other option of Kafka is refused with the reason.\n\n"
    columns = "| option | type | default | of topics | may change | |\n|---|---|---|---|---|---|\n"
    return head + columns + "".join(map(_row, OPTIONS.values()))


def _row(option: Option) -> str:
    default = "" if option.default is None else str(option.default).lower() if option.kind == "boolean" else option.default
    if isinstance(default, tuple):
        default = ",".join(default)
    changes = "" if option.dynamic == "no" else f"per {option.dynamic}"
    kind = f"{option.kind}, {option.unit}" if option.unit else option.kind
    cells = (f"`{option.name}`", kind, f"{default}", f"`{option.topic}`" if option.topic else "", changes, option.doc)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
