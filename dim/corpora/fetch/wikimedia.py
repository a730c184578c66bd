"""URLs of Wikimedia's thumbnails, of which only some widths are served since 2026."""

import re

WIDTHS = (20, 40, 60, 120, 250, 330, 500, 960, 1280, 1920, 3840)
"""Widths that Wikimedia serves (`$wgThumbnailSteps`, https://www.mediawiki.org/wiki/Common_thumbnail_sizes)."""

_THUMBNAIL = re.compile(
    r"(?P<site>https?://[^/]+/[a-z]+/[^/]+)/thumb/"
    r"(?P<file>(?:archive/)?(?P<hash>[0-9a-f])/(?P=hash)[0-9a-f]/(?P<name>[^/]+))/"
    r"(?P<before>(?:[^/]*-)?)(?P<width>[0-9]{1,6})px-(?P<after>[^/?#]+)(?:[?#].*)?",
    re.IGNORECASE,
)
_FILE_PAGE = re.compile(
    r"(?P<before>https?://[^/]+/(?:wiki/|w/index\.php\?title=)Special(?::|%3A)(?:FilePath|Redirect/file)/[^?&#]+)"
    r"[?&]width=(?P<width>[0-9]{1,6})(?:[&#].*)?",
    re.IGNORECASE,
)
_PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".svg", ".tif", ".tiff")  # not .pdf, .djvu, .webm ...


def served_urls(url: str) -> list[str]:
    """Lists the URLs under which a picture may be served, in the order to try them.

    A thumbnail is asked for at the narrowest served width that is not narrower, then as the original, since no
    thumbnail is wider than its original. What is no picture itself (a page of a PDF or of a TIFF, a frame of a video)
    has no such original: narrower served widths follow instead.

    Args:
        url: Any URL.

    Returns:
        The URLs; for any other URL than a thumbnail of Wikimedia, that one.

    Example:

        >>> served_urls("https://upload.wikimedia.org/wikipedia/commons/thumb/f/f1/X.jpg/350px-X.jpg")[0]
        'https://upload.wikimedia.org/wikipedia/commons/thumb/f/f1/X.jpg/500px-X.jpg'
        >>> served_urls("https://upload.wikimedia.org/wikipedia/commons/thumb/f/f1/X.jpg/350px-X.jpg")[1]
        'https://upload.wikimedia.org/wikipedia/commons/f/f1/X.jpg'
    """
    page = _FILE_PAGE.fullmatch(url)
    if page:
        mark = "&" if "?" in page["before"] else "?"
        at_width = [f"{page['before']}{mark}width={width}" for width in _at_least(int(page["width"]))]
        return [*at_width, page["before"]]
    found = _THUMBNAIL.fullmatch(url)
    if not found:
        return [url]
    wanted = int(found["width"])
    wider = _at_least(wanted)
    folder = f"{found['site']}/thumb/{found['file']}"
    if _is_whole(found["name"], found["before"]):
        site = re.sub("//thumb[.]wikimedia[.]org/", "//upload.wikimedia.org/", found["site"])
        others = [f"{site}/{found['file']}"]
        widths = wider
    else:
        others = []
        widths = [*wider, *[width for width in reversed(WIDTHS) if width < wanted][:2]]
    return [*(f"{folder}/{found['before']}{width}px-{found['after']}" for width in widths), *others]


def _at_least(wanted: int) -> list[int]:
    """The narrowest served width that is at least as wide, if there is one."""
    return [width for width in WIDTHS if width >= wanted][:1]


def _is_whole(name: str, before: str) -> bool:
    """Whether the original shows the same as a thumbnail."""
    page = re.search(r"page(\d+)-", before)
    return name.lower().endswith(_PICTURES) and (page is None or page[1] == "1")
