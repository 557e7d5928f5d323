"""The built book: where it is, which pages it has, and a server for it on the loopback."""

import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

# BOOK_HTML points the tests at another build.
SITE = Path(
    os.environ.get("BOOK_HTML") or Path(__file__).resolve().parents[2] / "_build" / "html"
).resolve()

# What Sphinx adds on its own beside the pages of the table of contents.
_GENERATED = {"genindex.html", "search.html", "py-modindex.html", "prf-prf.html"}


def all_html(site: Path = SITE) -> list[str]:
    """The HTML files of the site, theme files excepted, as paths relative to it."""
    paths = (path.relative_to(site) for path in site.rglob("*.html"))
    return sorted(path.as_posix() for path in paths if path.parts[0] != "_static")


def book_pages(site: Path = SITE) -> list[str]:
    """The pages of the table of contents, as paths relative to the site."""
    pages = [path for path in all_html(site) if path not in _GENERATED]
    return [path for path in pages if 'http-equiv="refresh"' not in (site / path).read_text()]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def served(site: Path = SITE) -> Iterator[str]:
    """Serve the site on a free port of the loopback; gives the address, with a final slash."""
    handler = partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
