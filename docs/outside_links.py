"""Links from pages of the site to files outside docs/: to the repository, or to the files of the clone without one."""

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]*)")
log = logging.getLogger("mkdocs.hooks")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """The page with such links replaced; one to a missing file is a warning, which fails a strict build."""
    folder = posixpath.dirname(page.file.src_uri)

    def target(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, link[1]))
        if path.startswith("docs/"):
            return link[1]
        if not (ROOT / path).exists():
            log.warning("%s links to %s, which does not exist", page.file.src_uri, path)
        if config.repo_url:
            return posixpath.join(config.repo_url, "tree" if (ROOT / path).is_dir() else "blob", "main", path)
        return (ROOT / path).as_uri()

    return LINK.sub(target, markdown)
