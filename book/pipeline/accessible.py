"""What Sphinx's own HTML lacks for readers who do not see the page, put right after rendering."""

from pathlib import Path

# A list must hold list items, and the role that docutils gives its entries is withdrawn (ARIA 1.2).
_ROLES = (('role="doc-biblioentry"', 'role="listitem"'),)


def accessible(html: str) -> str:
    """A page with the roles that its elements should have; others are returned as they are."""
    for wrong, right in _ROLES:
        html = html.replace(wrong, right)
    return html


def make_accessible(site: Path) -> None:
    """Put every page of a rendered site right, in place."""
    for page in sorted(site.rglob("*.html")):
        text = page.read_bytes().decode("utf-8")
        better = accessible(text)
        if better != text:
            page.write_bytes(better.encode())
