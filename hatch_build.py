"""What the package says of itself on a package index: README.md with links to the repository, and the project's URLs.

The address of the repository is that of the environment variable ONEBODY_REPOSITORY, which the workflows set. Without
it, as in a local build, README.md is taken as it is.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

IMAGES = (".webp", ".png", ".svg")


class Metadata(MetadataHookInterface):
    """The dynamic fields of pyproject.toml."""

    def update(self, metadata: dict[str, Any]) -> None:
        text, address = (Path(self.root) / "README.md").read_text("utf-8"), os.environ.get("ONEBODY_REPOSITORY", "")
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute(text, address) if address else text}
        metadata["urls"] = urls(address) if address else {}


def absolute(markdown: str, address: str) -> str:
    """The text with links to files of the repository in place of relative ones."""

    def target(link: re.Match[str]) -> str:
        kind = "raw" if link[1].endswith(IMAGES) else "blob"
        return f"]({address.rstrip('/')}/{kind}/main/{link[1]})"

    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", target, markdown)


def urls(address: str) -> dict[str, str]:
    """The project's URLs."""
    address = address.rstrip("/")
    return {
        "Repository": address,
        "Documentation": f"{address}/blob/main/docs/index.md",
        "Issues": f"{address}/issues",
        "Changelog": f"{address}/blob/main/CHANGELOG.md",
    }
