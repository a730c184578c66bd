"""HTML of the results; all texts of users and of the knowledge base are escaped."""

from html import escape

from playground import Answer, data_url

from dim import LinkedEntity, Links

_NAMES = {"sentence": "sentence", "picture": "picture", "expert_answer": "caption"}
_PARTS = {"score_by_vectors": "text", "score_by_prior": "lexical prior", "score_by_reranker": "reranker"}
_MEANING = {
    "text": "similarity of the vectors of mention and entity, without the mention's picture",
    "picture": "contribution of the mention's picture: the difference from the score without it",
    "lexical prior": "contribution of the lexical prior",
    "reranker": "contribution of the reranker",
}
_SURE = 0.5  # confidence under which the page says that the model is not sure


def results(answer: Answer, before: list[str], changed: str | None) -> str:
    """Renders the rankings with and without the picture.

    Args:
        answer: The linked mention.
        before: Ids of the ranking before an edit, in order; empty without an edit.
        changed: Id of the edited entity.

    Returns:
        HTML.
    """
    title = "With the picture" if answer.blind is not None else "Ranking, without a picture"
    alone = not answer.row["mention"]
    columns = [("Ranking by the picture alone" if alone else title, answer.links)]
    if answer.blind is not None:
        columns.append(("Without the picture", answer.blind))
    parts = {id(one): _parts(one, alone) for _, links in columns for one in links}
    largest = max([abs(value) for part in parts.values() for value in part.values()], default=1.0) or 1.0
    made = []
    for title, links in columns:
        moved = before if links is answer.links else []
        cards = "".join(
            _card(rank, one, answer.pictures.get(one.id), parts[id(one)], largest, _move(rank, one.id, moved, changed))
            for rank, one in enumerate(links, 1)
        )
        head = f"<h3>{title}</h3>{_verdict(links)}"
        made.append(f'<section class="dim-column">{head}<ol class="dim-cards">{cards}</ol></section>')
    return f'<div class="dim-results">{_question(answer)}<div class="dim-columns">{"".join(made)}</div></div>'


def message(text: str, bad: bool = True) -> str:
    """Renders a message that a screen reader announces."""
    role, kind = ("alert", "bad") if bad else ("status", "good")
    return f'<p class="dim-message dim-{kind}" role="{role}">{escape(text)}</p>'


def _question(answer: Answer) -> str:
    row = answer.row
    start, end, text = row["start"], row["end"], row["sentence"]
    if not row["mention"]:
        shown, note = "", "The picture is linked alone. "
    elif start < 0:
        shown, note = escape(text), f"“{escape(row['mention'])}” is not in the sentence. "
    else:
        shown, note = f"{escape(text[:start])}<mark>{escape(text[start:end])}</mark>{escape(text[end:])}", ""
    picture = "" if row["image"] is None else f'<img alt="picture of the mention" src="{data_url(row["image"])}">'
    attention = answer.links[0].why["attention"] if answer.links else {}
    total = sum(attention.values()) or 1.0
    shares = {_NAMES.get(name, name): weight / total for name, weight in attention.items()}
    stack = "".join(f'<i class="dim-{name.split()[0]}" style="width:{100 * s:.1f}%"></i>' for name, s in shares.items())
    legend = "".join(f'<span class="dim-{n.split()[0]}">{escape(n)} {100 * s:.0f} %</span>' for n, s in shares.items())
    legend = f'<p class="dim-legend">Attention of the mention: {legend}</p>'
    looked = f'<div class="dim-stack">{stack}</div>{legend}' if stack else ""
    hint = "" if row["image"] is not None else "Add a picture to see its effect."
    note = f'<p class="dim-note">{note}{hint}</p>' if note or hint else ""
    return f'<div class="dim-question">{picture}<div><p class="dim-text">{shown}</p>{looked}{note}</div></div>'


def _verdict(links: Links) -> str:
    if not links:
        return '<p class="dim-note">The knowledge base has no candidates.</p>'
    if links.is_nil:
        return '<p class="dim-note">No entity is likely enough: no link (NIL).</p>'
    if links[0].confidence < _SURE:
        return (
            f'<p class="dim-note">Not sure: the best entity has a confidence of {100 * links[0].confidence:.1f} %.</p>'
        )
    return ""


def _parts(entity: LinkedEntity, alone: bool) -> dict[str, float]:
    """Returns the parts of a score, which add up to it; the vectors of a picture alone are the picture's part."""
    why = entity.why or {}
    parts = {title: why[name] for name, title in _PARTS.items() if name in why}
    if alone:
        parts["picture"] = parts.pop("text")
    elif "without_picture" in why:
        parts["picture"] = entity.score - why["without_picture"]
        parts["text"] -= parts["picture"]
    return {name: parts[name] for name in _MEANING if name in parts}


def _move(rank: int, name: str, before: list[str], changed: str | None) -> str:
    tags = []
    if name == changed:
        tags.append('<span class="dim-tag dim-edited">edited</span>')
    if before and name not in before:
        tags.append('<span class="dim-tag">new here</span>')
    elif before and before.index(name) + 1 != rank:
        old = before.index(name) + 1
        tags.append(f'<span class="dim-tag">{"▲" if rank < old else "▼"} was {old}</span>')
    return "".join(tags)


def _card(
    rank: int, entity: LinkedEntity, picture: str | None, parts: dict[str, float], largest: float, tags: str
) -> str:
    image = f'<img alt="" src="{picture}">' if picture else '<span class="dim-none">no picture</span>'
    bars = "".join(_bar(name, value, largest) for name, value in parts.items())
    found = "".join(f'<span class="dim-tag">{escape(one)}</span>' for one in (entity.why or {}).get("found_by", []))
    nearest = (entity.why or {}).get("nearest_picture")
    if nearest is not None:
        found += f"<br>nearest picture: number {nearest['index'] + 1}, similarity {nearest['similarity']:.2f}"
    sure = 100 * entity.confidence
    return (
        f'<li class="dim-card" data-id="{escape(entity.id)}">{image}<div class="dim-about"><h4><b>{rank}</b> '
        f"{escape(entity.name)}{tags}</h4><p>{escape(entity.description)}</p>"
        f'<div class="dim-sure" role="img" aria-label="confidence {sure:.1f} %"><i style="width:{sure:.1f}%"></i></div>'
        f'<span class="dim-percent">{sure:.1f} %</span></div>'
        f"<details{' open' if rank == 1 else ''}><summary>why: score {entity.score:.2f}</summary>{bars}"
        f'<p class="dim-found">found by {found}</p></details></li>'
    )


def _bar(name: str, value: float, largest: float) -> str:
    width = 50 * abs(value) / largest
    left = 50 if value >= 0 else 50 - width
    return (
        f'<div class="dim-bar" title="{_MEANING[name]}"><span>{name}</span>'
        f'<i><b class="{"plus" if value >= 0 else "minus"}" style="left:{left:.1f}%;width:{width:.1f}%"></b></i>'
        f"<em>{value:+.2f}</em></div>"
    )


__all__ = ["message", "results"]
