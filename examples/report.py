"""The demo's report: a self-contained HTML page, and the same content as a picture."""

import base64
import html
import io
from pathlib import Path

from PIL import Image

from dim import LinkedEntity, load_picture

PAGE = Path(__file__).with_name("report.html")
PARTS = {
    "namesakes/test": "whole knowledge base, all sentences",
    "namesakes/test/neutral": "whole knowledge base, uninformative sentences",
    "namesakes/test/senses": "among the senses of the surface form",
    "namesakes/test/new_style": "pictures in a style not seen in training",
}


def rows(mentions: list[dict], links: list[list[LinkedEntity]], entities: object, row_of: dict[str, int]) -> list[dict]:
    """Collects what the report shows of each linked mention.

    Args:
        mentions: Rows of the test split.
        links: The entities found for each, best first.
        entities: The knowledge base.
        row_of: Index of each entity id in it.

    Returns:
        For each mention `sentence`, `mention`, `image`, `right` and `found`: name, description, score, image, right.
    """
    shown = []
    for mention, found in zip(mentions, links, strict=True):
        candidates = []
        for link in found:
            images = entities[row_of[link.id]]["images"]
            candidates.append(
                {
                    "name": link.name,
                    "description": link.description,
                    "score": link.score,
                    "image": load_picture(images[0]) if images else None,
                    "right": link.id == mention["entity_id"],
                }
            )
        shown.append(
            {
                "sentence": mention["sentence"],
                "span": (mention["start"], mention["end"]),
                "image": load_picture(mention["image"]),
                "right": candidates[0]["right"],
                "found": candidates,
            }
        )
    return shown


def write_example(path: Path, mention: dict) -> None:
    """Saves a mention's picture as a PNG, for `dim link --image`.

    Args:
        path: Output file.
        mention: Row of the test split.
    """
    load_picture(mention["image"]).save(path)


def write_html(path: Path, metrics: dict, systems: dict[str, str], shown: list[dict]) -> None:
    """Writes the page.

    Args:
        path: Output file.
        metrics: Content of `metrics.json`.
        systems: Titles of the systems by key.
        shown: Result of `rows`.
    """
    tables = []
    for part, title in PARTS.items():
        if part not in metrics:
            continue
        body = "".join(
            f"<tr><th>{html.escape(name)}</th>{_cell(metrics[part][key], 'H@1')}{_cell(metrics[part][key], 'MRR')}</tr>"
            for key, name in systems.items()
        )
        head = "<thead><tr><td></td><th>H@1</th><th>MRR</th></tr></thead>"
        tables.append(f"<table><caption>{html.escape(title)}</caption>{head}<tbody>{body}</tbody></table>")
    links = "".join(_link(row) for row in shown)
    page = PAGE.read_text(encoding="utf-8").replace("{{tables}}", "".join(tables)).replace("{{links}}", links)
    path.write_text(page, encoding="utf-8")


def _cell(row: dict, name: str) -> str:
    low, high = row[f"{name} 95%"]
    return (
        f'<td><i style="width:{row[name]:.1f}%"></i><b>{row[name]:.1f}</b> <small>{low:.1f} – {high:.1f}</small></td>'
    )


def _img(image: Image.Image | None, alt: str) -> str:
    if image is None:
        return '<span class="none">no picture</span>'
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _link(row: dict) -> str:
    start, end = row["span"]
    text = row["sentence"]
    sentence = f"{html.escape(text[:start])}<mark>{html.escape(text[start:end])}</mark>{html.escape(text[end:])}"
    found = "".join(
        f'<li class="{"gold" if one["right"] else ""}">{_img(one["image"], one["name"])}'
        f"<div><b>{html.escape(one['name'])}</b>"
        f"<span>{one['score']:.1f}</span><p>{html.escape(one['description'])}</p></div></li>"
        for one in row["found"]
    )
    verdict = "right" if row["right"] else "wrong"
    return (
        f'<article class="{verdict}"><header>{_img(row["image"], text[start:end])}<p>{sentence}</p>'
        f"<em>{verdict}</em></header><ol>{found}</ol></article>"
    )


def write_png(path: Path, metrics: dict, systems: dict[str, str], shown: list[dict]) -> None:
    """Draws the report.

    Args:
        path: Output file.
        metrics: Content of `metrics.json`.
        systems: Titles of the systems by key.
        shown: Result of `rows`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    parts = {part: title for part, title in PARTS.items() if part in metrics}
    figure = plt.figure(figsize=(12, 3.2 + 1.15 * len(shown)), dpi=100, layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[3.2, 1.15 * len(shown)])
    colours = ["#b0b7c3", "#7aa6d8", "#1f5fa8", "#d9a066"]
    charts = top.subplots(1, len(parts), sharey=True)
    charts[0].invert_yaxis()  # the first system on top; the axis is shared
    for axes, (part, title) in zip(charts, parts.items(), strict=True):
        values = [metrics[part][key]["H@1"] for key in systems]
        low = [value - metrics[part][key]["H@1 95%"][0] for key, value in zip(systems, values, strict=True)]
        high = [metrics[part][key]["H@1 95%"][1] - value for key, value in zip(systems, values, strict=True)]
        bars = axes.barh(range(len(values)), values, color=colours, xerr=[low, high], ecolor="#444", capsize=2)
        axes.bar_label(bars, fmt="%.1f", padding=14, fontsize=8)
        axes.set(xlim=(0, 125), yticks=range(len(values)), yticklabels=list(systems.values()), xlabel="H@1, %")
        axes.set_xticks([0, 50, 100])
        axes.set_title(title.replace(", ", ",\n").replace(" of ", "\nof ").replace(" in a ", "\nin a "), fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    grid = bottom.subplots(len(shown), 8, width_ratios=[1, 3.4, 1, 2.2, 1, 2.2, 1, 2.2], squeeze=False)
    for line, row in zip(grid, shown, strict=True):
        start, end = row["span"]
        sentence = f"{row['sentence'][:start]}[{row['sentence'][start:end]}]{row['sentence'][end:]}"
        _draw(line[0], row["image"])
        _write(line[1], _wrapped(sentence, 30), "#1a7f37" if row["right"] else "#b42318")
        for index, one in enumerate(row["found"]):
            _draw(line[2 + 2 * index], one["image"])
            text = f"{index + 1}. {one['name']}  {one['score']:.1f}\n{_wrapped(one['description'], 26)}"
            _write(line[3 + 2 * index], text, "#1a7f37" if one["right"] else "#333")
    figure.savefig(path)
    plt.close(figure)


def _draw(axes: object, image: Image.Image | None) -> None:
    axes.axis("off")
    if image is not None:
        axes.imshow(image)


def _write(axes: object, text: str, colour: str) -> None:
    axes.axis("off")
    axes.text(0, 0.5, text, va="center", fontsize=8, color=colour, transform=axes.transAxes, parse_math=False)


def _wrapped(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width)[:3])
