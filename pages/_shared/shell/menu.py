"""The menu: the titles, groups and files of the pages."""

from pathlib import Path

PAGES_DIR = Path(__file__).resolve().parents[2]
MENU = {
    "Run": ("Overview", "Poison", "Defend", "Compare"),
    "Look inside": ("Embeddings", "Attention", "Subtexts", "Film", "Try it"),
}
"""Group of the menu -> its pages; pages of no group come last, as "Investigate"."""
OTHER_PAGES = "Investigate"


def page_file(title: str) -> str:
    """Return the path of a page for links; raise `LookupError` if there is no such page."""
    files = sorted(PAGES_DIR.glob(f"*_{title.replace(' ', '_')}.py"))
    if not files:
        raise LookupError(f"no page is titled {title!r}")
    return f"pages/{files[0].name}"


def menu_groups() -> dict[str, list[str]]:
    """Return group -> titles of its pages, in the order of `MENU`, else by number."""
    files = sorted(PAGES_DIR.glob("[0-9]*_*.py"), key=lambda path: int(path.stem.partition("_")[0]))
    found = [path.stem.partition("_")[2].replace("_", " ") for path in files]
    groups = {group: [title for title in pages if title in found] for group, pages in MENU.items()}
    grouped = [title for pages in groups.values() for title in pages]
    groups[OTHER_PAGES] = [title for title in found if title not in grouped]
    return {group: pages for group, pages in groups.items() if pages}


def titles() -> list[str]:
    """Return the titles of all pages, in the order of the menu."""
    return [title for pages in menu_groups().values() for title in pages]
