"""Demo of a linker in a browser: ranks the entities for a sentence and a picture, and edits the entities.

    python space/app.py --model demo/model --kb demo/kb

On a Space, the variables DIM_MODEL, DIM_KB and DIM_REVISION replace `--model`, `--kb` and `--revision`.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import gradio as gr
from cards import message, results
from gradio.utils import get_upload_folder
from gradio_client.utils import is_http_url_like
from playground import Playground

from dim import DIMError

HERE = Path(__file__).parent
NEW = ""  # choice for a new entity
TITLE = "DIM: multimodal entity linking"
INTRO = f"""# {TITLE}
DIM links a mention to an entity of a knowledge base, by its sentence **and** its picture. Try an example, or type your
own sentence."""
ABOUT = """The README.md of this Space lists the sources of the pictures. Edits change a copy of the knowledge base that
all visitors share until the app restarts."""
NO_FILE = "The picture did not arrive as a file: upload it."
RAW = {"preprocess": False, "show_progress": "hidden"}
HIDDEN = {"api_visibility": "private", "show_progress": "hidden"}


class Actions:
    """Handlers of the page's events.

    Args:
        playground: The linker.
    """

    def __init__(self, playground: Playground):
        self._playground = playground

    def link(self, sentence: str, mention: str, picture: dict | None) -> tuple:
        """Links a mention."""
        try:
            return *self._answer(sentence, mention, picture, [], None), "", None
        except DIMError as error:
            return message(str(error)), *[gr.skip()] * 5, "", gr.skip()

    def edit(self, entity: str, name: str, description: str, new: dict | None, *question: Any) -> tuple:
        """Saves an entity, and links the mention again."""
        *asked, before = question
        try:
            changed = self._playground.save(entity, name, description, path_of(new))
        except DIMError as error:
            return *[gr.skip()] * 6, message(str(error)), gr.skip()
        try:
            saved = f"Saved {name.strip()!r} as version {self._playground.linker.kb.version} of the knowledge base."
            return *self._answer(*asked, before, changed), message(saved, False), None
        except DIMError as error:
            return message(str(error)), *[gr.skip()] * 5, message(f"Saved {name.strip()!r}.", False), None

    def reset(self, *question: Any) -> tuple:
        """Reverts all edits, and links the mention again."""
        self._playground.reset()
        *found, _, _ = self.link(*question)
        return *found, message("All edits are reverted.", False), None

    def texts(self, entity: str) -> tuple[str, str]:
        """Returns the name and the description of an entity."""
        try:
            return ("", "") if entity == NEW else self._playground.entity(entity)
        except DIMError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def choose(self, entity: str, filled: str) -> tuple:
        """Fills in the chosen entity; the list also fires when it loses the focus, which must keep what was typed."""
        return (gr.skip(),) * 3 if entity == filled else (*self.texts(entity), entity)

    def _answer(
        self, sentence: str, mention: str, picture: dict | None, before: list[str], changed: str | None
    ) -> tuple:
        found = self._playground.link(sentence, mention, path_of(picture))
        order = [one.id for one in found.links]
        chosen = changed if changed is not None else (order[0] if order else NEW)
        names = {one.id: f"{rank}. {one.name}: {one.description}"[:90] for rank, one in enumerate(found.links, 1)}
        if chosen != NEW and chosen not in names:
            names[chosen] = self._playground.entity(chosen)[0]
        choices = [*((text, name) for name, text in names.items()), ("+ a new entity", NEW)]
        fields = self._playground.entity(chosen) if chosen != NEW else ("", "")
        return results(found, before, changed), gr.Dropdown(choices, value=chosen), *fields, chosen, order


def path_of(picture: object) -> str | None:
    """Returns the file of an uploaded picture, which is opened here so that errors are ours and not gradio's.

    A client may name any path: only a regular file within gradio's upload folder, by its real path, is one that was
    uploaded.
    """
    if picture is None:
        return None
    path = picture.get("path") if isinstance(picture, dict) else None
    try:
        real = Path(path).resolve(strict=True) if isinstance(path, str) else None
    except (OSError, ValueError, RuntimeError):  # missing, too long, with a null byte, or a loop of links
        real = None
    if real is None or not real.is_relative_to(Path(get_upload_folder()).resolve()) or not real.is_file():
        raise DIMError(NO_FILE)
    return str(real)


def build(playground: Playground, examples: list[dict[str, str]]) -> gr.Blocks:
    """Builds the page.

    Args:
        playground: The linker.
        examples: `sentence`, `picture` (a file in this folder, or empty), `label`, and the `name` of an entity.

    Returns:
        The app.
    """
    actions = Actions(playground)
    examples = playground.examples(examples)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as app:
        gr.Markdown(INTRO)
        order, filled = gr.State([]), gr.State(NEW)  # the last ranking; the entity in the text fields
        with gr.Row(elem_id="examples"):
            buttons = [gr.Button(one["label"], size="sm", min_width=110, icon=_file(one)) for one in examples]
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                sentence = gr.Textbox(label="Sentence", info="Put the mention in [[double brackets]]; "
                                      "empty for a picture alone.", max_length=2000,
                                      placeholder="[[Turkey]] was everywhere.", elem_id="sentence")  # fmt: skip
                mention = gr.Textbox(label="Mention (if not in brackets)", elem_id="mention", max_length=200)
                picture = _picture("Picture (optional)", "picture", 210)
                ask = gr.Button("Link", variant="primary", elem_id="link")
            with gr.Column(scale=5, min_width=300):
                shown = gr.HTML('<p class="dim-note">The ranking appears here.</p>', elem_id="results", padding=False)
        with gr.Accordion("Edit an entity", open=True, elem_id="edit"):
            gr.Markdown("An edit changes the knowledge base and links the mention again at once, without any training.")
            with gr.Row():
                with gr.Column(scale=3, min_width=280):
                    who = gr.Dropdown([("+ a new entity", NEW)], value=NEW, label="Entity", elem_id="who")
                    name = gr.Textbox(label="Name", elem_id="name", max_length=200)
                    text = gr.Textbox(label="Description", lines=2, elem_id="description", max_length=2000)
                with gr.Column(scale=2, min_width=280):
                    new = _picture("New picture (optional)", "new", 160)
            with gr.Row():
                save = gr.Button("Save and link again", variant="primary", elem_id="save")
                back = gr.Button("Reset the knowledge base", elem_id="reset")
            status = gr.HTML(elem_id="status", padding=False)
        gr.Markdown(ABOUT, elem_id="about")

        question = [sentence, mention, picture]
        outputs = [shown, who, name, text, filled, order, status, new]
        gr.on([ask.click, sentence.submit, mention.submit], actions.link, question, outputs, api_name="link", **RAW)
        save.click(actions.edit, [who, name, text, new, *question, order], outputs, api_name="edit", **RAW)
        back.click(actions.reset, question, outputs, api_name="reset", **RAW)
        gr.api(actions.texts, api_name="entity")
        who.input(actions.choose, [who, filled], [name, text, filled], **HIDDEN)
        for button, one in zip(buttons, examples, strict=True):
            values = (one["sentence"], "", _file(one))
            fill = button.click(lambda values=values: values, None, question, **HIDDEN)
            fill.then(actions.link, question, outputs, preprocess=False, **HIDDEN)
    return app


def _picture(label: str, name: str, height: int) -> gr.Image:
    made = gr.Image(label=label, sources=["upload", "clipboard"], height=height, elem_id=name, buttons=[])
    move = made.async_move_resource_to_block_cache

    async def move_files(resource: str | Path | None) -> str | None:
        """Takes files alone; gradio would also download a picture from a URL."""
        if is_http_url_like(resource):
            raise gr.Error(NO_FILE, print_exception=False)
        return await move(resource)

    made.async_move_resource_to_block_cache = move_files
    return made


def _file(example: dict[str, str]) -> str | None:
    return str(HERE / example["picture"]) if example["picture"] else None


def main(argv: list[str] | None = None) -> int:
    """Runs the app.

    Args:
        argv: Arguments, `sys.argv[1:]` by default.

    Returns:
        Exit code: 0, or 2 for invalid input, with one line on stderr.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=os.environ.get("DIM_MODEL"), help="a DIM, or the repository of a linker")
    parser.add_argument("--kb", default=os.environ.get("DIM_KB"), help="knowledge base (default: the repository's own)")
    parser.add_argument("--revision", default=os.environ.get("DIM_REVISION"), help="revision of the repository")
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port (the first free one from 7860)")
    arguments = parser.parse_args(argv)
    try:
        if not arguments.model:
            raise DIMError("There is no model: pass --model, or set the variable DIM_MODEL.")
        playground = Playground(arguments.model, arguments.kb, arguments.revision)
    except DIMError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    examples = json.loads((HERE / "examples" / "examples.json").read_text(encoding="utf-8"))
    style = f"<style>{(HERE / 'style.css').read_text(encoding='utf-8')}</style>"  # as css, gradio would rewrite :root
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # no downloads
    theme = gr.themes.Base(primary_hue="blue", neutral_hue="slate", **fonts)
    build(playground, examples).launch(
        server_name=arguments.host, server_port=arguments.port, theme=theme, head=style,
        max_file_size="16mb", ssr_mode=False, footer_links=["api"], allowed_paths=[str(HERE / "examples")],
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
