"""A page on which anybody can try a linker: a sentence and a picture in, ranked entities out, entities to change.

    python space/app.py --model demo/model --kb demo/kb

On a Space the variables DIM_MODEL, DIM_KB and DIM_REVISION say what `--model`, `--kb` and `--revision` say here.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import gradio as gr
from cards import message, results
from playground import Playground

HERE = Path(__file__).parent
NEW = ""  # the choice of an entity that is not there yet
INTRO = """# Who or what is meant?
DIM links a mention to the entity that it names, by its sentence **and** its picture. Try an example, or your own."""
ABOUT = """Pictures of the examples: see README.md of
this Space. Edits change a copy that everybody on this page shares; it is gone when the app restarts."""


def path_of(picture: dict[str, Any] | None) -> str | None:
    """The file of an uploaded picture, which gradio would otherwise open itself, with messages of its own."""
    if picture is not None and not picture.get("path"):
        raise ValueError("The picture did not arrive as a file: upload it.")
    return picture and picture["path"]


def build(playground: Playground, examples: list[dict[str, str]]) -> gr.Blocks:
    """The page.

    Args:
        playground: The linker.
        examples: `sentence`, `picture` (a file beside this one, or empty) and `label`.

    Returns:
        The app, to be launched.
    """

    def answer(sentence: str, mention: str, picture: dict | None, before: list[str], changed: str | None) -> tuple:
        found = playground.link(sentence, mention, path_of(picture))
        order = [one.id for one in found.links]
        chosen = changed if changed is not None else (order[0] if order else NEW)
        names = {one.id: f"{rank}. {one.name}: {one.description}"[:90] for rank, one in enumerate(found.links, 1)}
        if chosen != NEW and chosen not in names:
            names[chosen] = playground.entity(chosen)[0]
        choices = [*((text, name) for name, text in names.items()), ("+ a new entity", NEW)]
        fields = playground.entity(chosen) if chosen != NEW else ("", "")
        return results(found, before, changed), gr.Dropdown(choices, value=chosen), *fields, chosen, order

    def link(sentence: str, mention: str, picture: dict | None) -> tuple:
        try:
            return *answer(sentence, mention, picture, [], None), "", None
        except ValueError as error:
            return message(str(error)), *[gr.skip()] * 5, "", gr.skip()

    def edit(entity: str, name: str, description: str, new: dict | None, *question: Any) -> tuple:
        *asked, before = question
        try:
            changed = playground.save(entity, name, description, path_of(new))
        except ValueError as error:
            return *[gr.skip()] * 6, message(str(error)), gr.skip()
        try:
            version = playground.linker.kb.version
            saved = f"Saved {name.strip()!r} as version {version} of the knowledge base, and linked again."
            told = message(saved, False)
            return *answer(*asked, before, changed), told, None
        except ValueError as error:
            return message(str(error)), *[gr.skip()] * 5, message(f"Saved {name.strip()!r}.", False), None

    def reset(*question: Any) -> tuple:
        playground.reset()
        told = message("Every change is taken back.", False)
        *found, _, _ = link(*question)
        return *found, told, None

    def texts(entity: str) -> tuple[str, str]:
        try:
            return ("", "") if entity == NEW else playground.entity(entity)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def choose(entity: str, filled: str) -> tuple:
        # The list fires, too, when it merely loses the focus: what was typed meanwhile must stay.
        return (gr.skip(),) * 3 if entity == filled else (*texts(entity), entity)

    with gr.Blocks(title="DIM: who or what is meant?", analytics_enabled=False) as app:
        gr.Markdown(INTRO)
        order, filled = gr.State([]), gr.State(NEW)  # the last ranking; the entity whose texts the fields were given
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                sentence = gr.Textbox(label="Sentence", info="Put the mention in [[double brackets]].", max_length=2000,
                                      placeholder="[[Turkey]] was everywhere.", elem_id="sentence")  # fmt: skip
                mention = gr.Textbox(label="Mention, if it is not in brackets", elem_id="mention", max_length=200)
                picture = gr.Image(label="Picture (may be left out)", sources=["upload", "clipboard"], height=210,
                                  elem_id="picture", buttons=[])  # fmt: skip
                ask = gr.Button("Link", variant="primary", elem_id="link")
            with gr.Column(scale=5, min_width=300):
                with gr.Row(elem_id="examples"):
                    buttons = [gr.Button(one["label"], size="sm", min_width=150,
                                         icon=str(HERE / one["picture"]) if one["picture"] else None)
                               for one in examples]  # fmt: skip
                shown = gr.HTML('<p class="dim-note">The ranking appears here.</p>', elem_id="results", padding=False)
        with gr.Accordion("Edit an entity", open=True, elem_id="edit"):
            gr.Markdown("The knowledge base changes, and the mention is linked again, at once. Nothing is trained.")
            with gr.Row():
                with gr.Column(scale=3, min_width=280):
                    who = gr.Dropdown([("+ a new entity", NEW)], value=NEW, label="Entity", elem_id="who")
                    name = gr.Textbox(label="Name", elem_id="name", max_length=200)
                    text = gr.Textbox(label="Description", lines=2, elem_id="description", max_length=2000)
                with gr.Column(scale=2, min_width=280):
                    new = gr.Image(label="Another picture (if any)", sources=["upload", "clipboard"], height=160,
                                  elem_id="new", buttons=[])  # fmt: skip
            with gr.Row():
                save = gr.Button("Save and link again", variant="primary", elem_id="save")
                back = gr.Button("Reset the knowledge base", elem_id="reset")
            told = gr.HTML(elem_id="told", padding=False)
        gr.Markdown(ABOUT, elem_id="about")

        question, fields = [sentence, mention, picture], [who, name, text, new]
        outputs = [shown, who, name, text, filled, order, told, new]
        raw = {"preprocess": False, "show_progress": "hidden"}
        gr.on([ask.click, sentence.submit, mention.submit], link, question, outputs, api_name="link",
              **raw)  # fmt: skip
        save.click(edit, [*fields, *question, order], outputs, api_name="edit", **raw)
        back.click(reset, question, outputs, api_name="reset", **raw)
        gr.api(texts, api_name="entity")
        who.input(choose, [who, filled], [name, text, filled], api_visibility="private", show_progress="hidden")
        for button, one in zip(buttons, examples, strict=True):
            values = (one["sentence"], "", str(HERE / one["picture"]) if one["picture"] else None)
            put = button.click(lambda values=values: values, None, question, api_visibility="private",
                                  show_progress="hidden")  # fmt: skip
            put.then(link, question, outputs, api_visibility="private", **raw)
    return app


def main(argv: list[str] | None = None) -> int:
    """Runs the app.

    Args:
        argv: Arguments, `sys.argv[1:]` by default.

    Returns:
        Exit code: 0, or 2 for bad input, which is told in one line.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=os.environ.get("DIM_MODEL"), help="a DIM, or a linker's repository")
    parser.add_argument("--kb", default=os.environ.get("DIM_KB"), help="its knowledge base, if it brings none")
    parser.add_argument("--revision", default=os.environ.get("DIM_REVISION"), help="of the linker's repository")
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="(the first free one from 7860 on)")
    arguments = parser.parse_args(argv)
    try:
        if not arguments.model:
            raise ValueError("Say which model: --model, or the variable DIM_MODEL.")
        playground = Playground(arguments.model, arguments.kb, arguments.revision)
    except ValueError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    examples = json.loads((HERE / "examples" / "examples.json").read_text(encoding="utf-8"))
    style = f"<style>{(HERE / 'style.css').read_text(encoding='utf-8')}</style>"  # as css, gradio would rewrite :root
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # nothing is fetched
    theme = gr.themes.Base(primary_hue="blue", neutral_hue="slate", **fonts)
    build(playground, examples).launch(
        server_name=arguments.host, server_port=arguments.port, theme=theme, head=style,
        max_file_size="16mb", ssr_mode=False, footer_links=["api"], allowed_paths=[str(HERE / "examples")],
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
