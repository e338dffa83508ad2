"""Links that leave docs/ lead to the file in the repository; on the site there is no such page."""

from __future__ import annotations

import posixpath
import re
from typing import Any

_LINK = re.compile(r"\]\((\.\./[^)\s]+)\)")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    here = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def absolute(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(here, found.group(1)))
        return found.group(0) if path.startswith("docs/") else f"]({config.extra['repository']}/blob/main/{path})"

    return _LINK.sub(absolute, markdown)
