"""Pinned drawing sets: finds and draws the pictures of a key.

A key names a thing independently of any drawing: `e:turkey` an emoji (by its Noto name), `f:tr` a country or
subdivision flag (ISO 3166), `b:apple` a brand (its name in lower case, words joined by `-`).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import re
import subprocess
import tarfile
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import resvg_py
from PIL import Image

SIZE = 96
"""Width and height of every picture, in pixels."""

HERE = Path(__file__).resolve().parent
TILE = "simple-icons-tile"
TEST_STYLE = "twemoji"
EMOJI_STYLES = ("noto", "fluent-emoji-flat", "noto-v1", "emojione", "fxemoji", "twemoji")
FLAG_STYLES = ("flag", "circle-flags", "flagpack", "cif", "twemoji")
BRAND_STYLES = ("logos", "devicon", "skill-icons", "streamline-logos", "simple-icons", TILE)
"""Styles of a kind in order of preference: the first one that has the key draws the entity's picture."""


@dataclass(frozen=True)
class Drawing:
    """One icon of one drawing set."""

    style: str
    icon: str
    source: str
    license: str


class IconError(ValueError):
    """A tarball, an icon or a licence does not match the tables."""


class Library:
    """The pinned npm tarballs, read in place.

    Args:
        folder: folder of the tarballs; `npm pack` fetches missing ones.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.packages = {p["style"]: p for p in json.loads((HERE / "packages.json").read_text("utf-8"))}
        self._members: dict[str, dict[str, bytes]] = {}
        for package in self.packages.values():
            self._members[package["style"]] = self._read(package)
        self.icons = {s: json.loads(m["icons.json"]) for s, m in self._members.items() if s != "simple-icons"}
        self.simple = self._simple_icons()
        self.codepoints = {icon: code for code, icon in reversed(self._chars("noto").items())}

    def _read(self, package: dict[str, str]) -> dict[str, bytes]:
        path = self.folder / package["tarball"]
        if not path.exists():
            spec = f"{package['name']}@{package['version']}"
            subprocess.run(["npm", "pack", "--silent", spec], cwd=self.folder, check=True, stdout=subprocess.DEVNULL)
        data = path.read_bytes()
        found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
        if found != package["integrity"]:
            raise IconError(f"{path.name}: integrity is {found}, pinned is {package['integrity']}")
        members = {}
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                name = member.name.split("/", 1)[-1]
                if name in ("icons.json", "chars.json", "data/simple-icons.json") or name.startswith("icons/"):
                    handle = tar.extractfile(member)
                    if handle is not None:
                        members[name] = handle.read()
        return members

    def _simple_icons(self) -> dict[str, dict[str, str]]:
        rows = json.loads(self._members["simple-icons"]["data/simple-icons.json"])
        by_name: dict[str, dict[str, str]] = {}
        for row in rows:
            by_name.setdefault(re.sub(r"[^a-z0-9]+", "-", row["title"].lower()).strip("-"), row)
            by_name.setdefault(row["slug"], row)
        return by_name

    @functools.lru_cache(None)  # noqa: B019 - one library lives as long as the build
    def _chars(self, style: str) -> dict[str, str]:
        """Code points (without variation selectors) to icon names."""
        chars = json.loads(self._members[style].get("chars.json", b"{}"))
        return {code.replace("-fe0f", ""): icon for code, icon in chars.items()}

    def resolve(self, style: str, icon: str) -> str | None:
        """Follows aliases to the icon with the drawing; None if there is none."""
        icons = self.icons[style]
        for _ in range(5):
            if icon in icons["icons"]:
                return icon
            alias = icons.get("aliases", {}).get(icon)
            if alias is None or set(alias) - {"parent"}:
                return None
            icon = alias["parent"]
        return None

    def drawings(self, key: str, fixes: tuple[str, ...] = ()) -> list[Drawing]:
        """All drawings of a key, best style for the entity first.

        Args:
            key: what is drawn.
            fixes: `-style` leaves a style out, `style=icon` names its icon.

        Raises:
            IconError: if the key or a fix names an icon that no set has, or one with a licence of its own.
        """
        kind, name = key.split(":", 1)
        styles = {"e": EMOJI_STYLES, "f": FLAG_STYLES, "b": BRAND_STYLES}[kind]
        dropped = {fix[1:] for fix in fixes if fix.startswith("-")}
        named = dict(fix.split("=", 1) for fix in fixes if "=" in fix)
        unknown = (dropped | set(named)) - set(styles)
        if unknown:
            raise IconError(f"{key}: the fixes name unknown styles {sorted(unknown)}")
        found = []
        for style in styles:
            if style in dropped:
                continue
            package = self.packages["simple-icons" if style == TILE else style]
            icon = named.get(style) or self._find(kind, name, style)
            if icon is None:
                continue
            if style in ("simple-icons", TILE):
                row = self.simple.get(icon)
                if row is None or "license" in row:
                    if style in named:
                        raise IconError(f"{key}: simple-icons has no icon {icon} under its own licence")
                    continue
                icon = row["slug"]
            elif self.resolve(style, icon) is None:
                raise IconError(f"{key}: {style} has no icon {icon}")
            source = f"{package['name']}@{package['version']}/{icon}"
            found.append(Drawing(style, icon, source, package["license"]))
        if not found:
            raise IconError(f"{key}: no drawing")
        if len(found) > 2 or (len(found) == 2 and found[0].style != "simple-icons"):
            found = [drawing for drawing in found if drawing.style != TILE]
        return found

    def _find(self, kind: str, name: str, style: str) -> str | None:
        if kind == "e":
            return self._find_emoji(name, style)
        if kind == "f":
            if style == "twemoji":
                return self._chars(style).get(_flag_code(name))
            candidates: tuple[str, ...] = (name + "-4x3",) if style == "flag" else (name,)
        elif style in ("simple-icons", TILE):
            return name if name in self.simple else None
        else:
            joined = name.replace("-", "")
            candidates = {
                "logos": (f"{name}-icon", name, f"{joined}-icon", joined),
                "devicon": (joined, name),
                "skill-icons": (joined, f"{joined}-light", f"{joined}-dark"),
                "streamline-logos": tuple(f"{name}-logo{n}{t}" for n in ("", "-1", "-2") for t in ("-solid", "-block")),
            }[style]
        return next((c for c in candidates if self.resolve(style, c)), None)

    def _find_emoji(self, name: str, style: str) -> str | None:
        code = self.codepoints.get(name)
        if code is None:
            raise IconError(f"e:{name}: Noto has no such emoji")
        if style in ("noto", "fluent-emoji-flat", "twemoji"):
            return self._chars(style).get(code)
        names = [name]
        if style == "fxemoji":
            names = [name.replace("-", "")]
            if "-" not in code:
                names.append(re.sub(r"[^a-z0-9]", "", unicodedata.name(chr(int(code, 16)), "").lower()))
        return next((n for n in names if self.resolve(style, n)), None)

    def svg(self, drawing: Drawing) -> str:
        """The drawing as an SVG with a square view box."""
        if drawing.style in ("simple-icons", TILE):
            colour = "#" + self.simple[drawing.icon]["hex"]
            body = self._members["simple-icons"][f"icons/{drawing.icon}.svg"].decode()
            path = re.search(r' d="([^"]+)"', body)
            if path is None:
                raise IconError(f"{drawing.source}: no path")
            if drawing.style == TILE:
                return (
                    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-6 -6 36 36">'
                    f'<rect x="-6" y="-6" width="36" height="36" rx="7" fill="{colour}"/>'
                    f'<path fill="{_ink(colour)}" d="{path[1]}"/></svg>'
                )
            colour = colour if _ink(colour) == "#fff" else "#222"
            return (
                '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 26 26">'
                f'<path fill="{colour}" d="{path[1]}"/></svg>'
            )
        icons = self.icons[drawing.style]
        icon = icons["icons"][self.resolve(drawing.style, drawing.icon)]
        width, height = (icon.get(k, icons.get(k, 16)) for k in ("width", "height"))
        left, top = (icon.get(k, icons.get(k, 0)) for k in ("left", "top"))
        side = max(width, height)
        left, top = left - (side - width) / 2, top - (side - height) / 2
        body = icon["body"].replace("currentColor", "#222")
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left:g} {top:g} {side:g} {side:g}">{body}</svg>'
        )

    def render(self, drawing: Drawing) -> Image.Image:
        """The drawing as a 96 x 96 RGBA picture, white below its transparent pixels."""
        png = resvg_py.svg_to_bytes(svg_string=self.svg(drawing), width=SIZE, height=SIZE, skip_system_fonts=True)
        picture = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
        if picture.size != (SIZE, SIZE):
            raise IconError(f"{drawing.source}: drawn at {picture.size}, expected {(SIZE, SIZE)}")
        alpha = picture.getchannel("A")
        clear = alpha.point(lambda a: 255 if a == 0 else 0)
        picture.paste((255, 255, 255, 0), mask=clear)
        return picture


def webp(picture: Image.Image) -> bytes:
    """The picture as lossless WebP, with the colour white in transparent pixels."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=True, quality=100, method=4, exact=True)
    return buffer.getvalue()


def on_white(picture: Image.Image, side: int = SIZE) -> Image.Image:
    """The picture as RGB on white, resized to `side`."""
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA")).convert("RGB")
    return flat if side == flat.width else flat.resize((side, side), Image.Resampling.BOX)


def _ink(colour: str) -> str:
    """Returns white or near black, whichever contrasts with the colour."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#fff" if 0.299 * red + 0.587 * green + 0.114 * blue < 200 else "#222"


def _flag_code(name: str) -> str:
    """Code points of a flag emoji: two regional indicators, or a black flag with tag letters."""
    if len(name) == 2:
        return "-".join(f"{0x1F1E6 + ord(letter) - 97:x}" for letter in name)
    return "-".join(["1f3f4", *(f"{0xE0000 + ord(letter):x}" for letter in name if letter != "-"), "e007f"])
