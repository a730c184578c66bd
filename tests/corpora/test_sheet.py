"""What `dim inspect` counts, prints and draws."""

import io
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image, ImageFont

from dim.corpora.inspect import drawing
from dim.corpora.inspect.drawing import Card, draw_cards
from dim.corpora.inspect.sheet import Description, contact_sheet, describe, report

NAMESAKES = Path(__file__).resolve().parents[2] / "datasets" / "namesakes"
MARK, PAPER = (255, 224, 138), (255, 255, 255)


def png(colour: str, size: tuple[int, int] = (40, 40)) -> dict:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> str:
    """A dataset with everything that can be lacking, in our schema."""
    folder = tmp_path_factory.mktemp("odd")
    mentions = {
        "id": ["m1", "m2", "m3", "m4", "m5"],
        "sentence": ["Ada's\nengine.", "Ada's\nengine.", "No such name.", "It is NIL.", "It is elsewhere."],
        "mention": ["Ada", "engine", "Byron", "NIL", "It"],
        "start": [0, 6, -1, 6, 0],
        "end": [3, 12, -1, 9, 2],
        "image": [png("red"), None, png("blue"), {"bytes": b"broken", "path": "b.png"}, png("red")],
        "image_id": ["i1", "", "i2", "i3", "i1"],
        "entity_id": ["e1", "e2", "e2", "", "e9"],
    }
    entities = {
        "id": ["e1", "e2", "e3"],
        "name": ["Ada Lovelace", "engine", "none"],
        "description": ["a mathematician", "", None],
        "aliases": [["Ada", "Countess"], [], None],
        "images": [[png("green"), png("black")], [], None],
    }
    candidates = {"mention_id": ["m1", "m2"], "entity_ids": [["e1", "e2"], ["e3"]]}
    rows = {
        ("mentions", "train"): datasets.Dataset.from_dict(mentions).cast_column("image", datasets.Image(decode=False)),
        ("entities", "kb"): datasets.Dataset.from_dict(entities).cast_column(
            "images", datasets.List(datasets.Image(decode=False))
        ),
        ("candidates", "train"): datasets.Dataset.from_dict(candidates),
    }
    configs = []
    for (config, split), table in rows.items():
        table.to_parquet(str(folder / config / f"{split}.parquet"))
        configs.append(
            f"- config_name: {config}\n  data_files:\n  - split: {split}\n    path: {config}/{split}.parquet\n"
        )
    (folder / "README.md").write_text("---\nconfigs:\n" + "".join(configs) + "---\n")
    return str(folder)


def test_counts(odd):
    found = describe(odd)
    assert found.mentions == {
        "train": {
            "rows": 5,
            "sentences": 4,
            "with a picture": 4,
            "entities": 3,
            "NIL": 1,
            "not in their sentence": 1,
            "different pictures": 3,
        }
    }
    assert found.entities == {
        "rows": 3,
        "with a description": 1,
        "with a picture": 1,
        "pictures": 2,
        "with an alias": 1,
    }
    assert found.candidates == {"train": {"rows": 2, "candidates": 3}}


def test_examples(odd):
    assert [(row["id"], row["sentence"], row["entity"]) for row in describe(odd, examples=5).examples] == [
        ("m1", "[[Ada]]'s\nengine.", "e1 Ada Lovelace: a mathematician"),
        ("m2", "Ada's\n[[engine]].", "e2 engine"),
        ("m3", "No such name. ([[Byron]] is not in it)", "e2 engine"),
        ("m4", "It is [[NIL]].", "NIL: no entity of the knowledge base"),
        ("m5", "[[It]] is elsewhere.", "e9: not in the knowledge base"),
    ]


@pytest.mark.parametrize(
    "examples, ids", [(0, []), (1, ["m1"]), (2, ["m1", "m3"]), (9, ["m1", "m2", "m3", "m4", "m5"])]
)
def test_number_of_examples(odd, examples, ids):
    assert [row["id"] for row in describe(odd, examples).examples] == ids


def test_report(odd):
    text = report(describe(odd, examples=1))
    assert text == (
        f"{odd}\n\n"
        "mentions                           train\n"
        "  rows                                 5\n"
        "  sentences                            4\n"
        "  with a picture                       4\n"
        "  entities                             3\n"
        "  NIL                                  1\n"
        "  not in their sentence                1\n"
        "  different pictures                   3\n\n"
        "entities                              kb\n"
        "  rows                                 3\n"
        "  with a description                   1\n"
        "  with a picture                       1\n"
        "  pictures                             2\n"
        "  with an alias                        1\n\n"
        "candidates                         train\n"
        "  rows                                 2\n"
        "  candidates                           3\n\n"
        "train m1: [[Ada]]'s engine.\n"
        "  -> e1 Ada Lovelace: a mathematician"
    )


def test_nothing_of_the_data_steers_the_terminal():
    example = {"split": "train", "id": "m\r1", "sentence": "a\x1b[31m\u2028b\ud800\x00", "entity": "e\n1\u202e  x"}
    text = report(Description("d", {}, {}, {}, [example]))
    assert text == "d\n\ntrain m 1: a [31m b\n  -> e 1 x"


def test_splits_in_order(tiny_mel_dir):
    found = describe(str(tiny_mel_dir))
    assert list(found.mentions) == ["train", "validation"]
    assert found.mentions["validation"]["NIL"] == 1
    assert found.mentions["train"]["rows"] == 24
    assert "        train  validation\n" in report(found)


def test_the_sample():
    found = describe(str(NAMESAKES))
    assert list(found.mentions) == ["train", "validation", "test"]
    assert {split: counts["rows"] for split, counts in found.mentions.items()} == {
        "train": 7584,
        "validation": 696,
        "test": 1586,
    }
    assert found.mentions["test"]["different pictures"] == 682
    assert found.entities["with a picture"] == 1702
    assert found.candidates["test"]["rows"] == 1132
    assert "[[" in found.examples[0]["sentence"]


def test_datasets_that_are_none(tmp_path):
    for name in ("./nowhere", "nobody/nothing", str(tmp_path)):
        with pytest.raises(ValueError, match="There is no dataset|has no split of mentions"):
            describe(name)
    (tmp_path / "entities.parquet").write_bytes((NAMESAKES / "entities/kb-00000-of-00001.parquet").read_bytes())
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: entities\n  data_files:\n  - split: kb\n    path: entities.parquet\n---\n"
    )
    with pytest.raises(ValueError, match="its config 'mentions' needs one of train, validation, test"):
        describe(str(tmp_path))


def colours(sheet: Image.Image) -> dict[tuple[int, int, int], int]:
    """How many pixels have each colour."""
    pixels = np.asarray(sheet.convert("RGB")).astype(int) @ (1 << 16, 1 << 8, 1)
    values, counts = np.unique(pixels, return_counts=True)
    found = zip(values.tolist(), counts.tolist(), strict=True)
    return {(value >> 16, value >> 8 & 255, value & 255): count for value, count in found}


class TestContactSheet:
    def test_what_is_drawn(self, odd, tmp_path):
        out = tmp_path / "new" / "sheet.png"
        assert contact_sheet(odd, "train", 12, 0, out) == 4
        with Image.open(out) as sheet:
            assert sheet.format == "PNG"
            found = colours(sheet)
            assert sheet.size == draw_cards("", [card()] * 4).size
        assert found[255, 0, 0] == 2 * 204 * 204  # m1 and m5
        assert found[0, 0, 255] == 204 * 204  # m3
        assert found[0, 128, 0] == 60 * 60  # the first picture of e1
        assert found[MARK] > 1000
        assert [path.name for path in out.parent.iterdir()] == ["sheet.png"]

    def test_the_lot(self, tmp_path):
        sheets = {}
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            assert contact_sheet(str(NAMESAKES), "validation", 4, seed, tmp_path / name) == 4
            sheets[name] = Image.open(tmp_path / name).crop((0, 64, 1340, 560)).tobytes()
        assert sheets["a"] == sheets["b"] != sheets["c"]

    def test_input(self, odd, tmp_path):
        with pytest.raises(ValueError, match="is 0: it must be at least 1"):
            contact_sheet(odd, "train", 0, 0, tmp_path / "a.png")
        with pytest.raises(ValueError, match="cannot give the split 'test'"):
            contact_sheet(odd, "test", 1, 0, tmp_path / "a.png")

    def test_no_pictures(self, tmp_path):
        columns = {name: ["x"] for name in ("id", "sentence", "mention", "entity_id")} | {"start": [0], "end": [1]}
        rows = datasets.Dataset.from_dict(columns | {"image": [None]}).cast_column("image", datasets.Image())
        rows.to_parquet(str(tmp_path / "mentions/train.parquet"))
        (tmp_path / "README.md").write_text(
            "---\nconfigs:\n- config_name: mentions\n  data_files:\n"
            "  - split: train\n    path: mentions/train.parquet\n---\n"
        )
        assert describe(str(tmp_path)).entities == {}
        assert "-> x: not in the knowledge base" in report(describe(str(tmp_path)))
        with pytest.raises(ValueError, match="has no mention with a picture"):
            contact_sheet(str(tmp_path), "train", 1, 0, tmp_path / "a.png")


def card(sentence=("It is ", "Ada", "."), name="Ada", text="a mathematician", picture=None, thumbnail=None) -> Card:
    return Card(picture or png("white"), sentence, sentence[1] or "Ada", name, text, thumbnail)


@pytest.fixture(params=["DejaVu Sans", "the font in Pillow"])
def font(request, monkeypatch):
    """Both fonts, whether the system has the first or not."""
    drawing._font.cache_clear()
    if request.param == "the font in Pillow":
        truetype = ImageFont.truetype

        def only_its_own(name, *rest, **options):
            if isinstance(name, str):
                raise OSError("cannot open resource")
            return truetype(name, *rest, **options)

        monkeypatch.setattr(ImageFont, "truetype", only_its_own)
    yield drawing._font(18, False)
    drawing._font.cache_clear()


TEXTS = [
    "",
    " \n\t ",
    "word " * 500,
    "Superlongword" * 100,
    "Łódź Ærø Çağlar Ñandú – “quotes” …",
    "Ελληνικά Русский العربية עברית हिन्दी",
    "中文" * 300,
    "😀🏳️‍🌈 \u200b\ufeff\x00\x1b[31m \ud800 e\u0301\u0302\u0303",
]


class TestCards:
    @pytest.mark.parametrize("text", TEXTS)
    def test_any_text(self, font, text):
        """No text breaks the drawing or leaves its card."""
        cards = [
            card((text, "Ada", text), text, text, thumbnail=png("white")),
            card((text, "", "")),
            card(("", text, "")),
        ]
        sheet = np.asarray(draw_cards(text, cards).convert("RGB"))
        inside = np.zeros(sheet.shape[:2], dtype=bool)
        inside[12:60, 16:] = True  # the title
        for place in range(3):
            left, top = 20 + place % 2 * 660, 64 + place // 2 * 252
            inside[top : top + 233, left : left + 641] = True
            paper = sheet[top + 5 : top + 228, left + 627 : left + 638]
            assert (paper == PAPER).all()  # the margin on the right
        assert (sheet[~inside] == (238, 240, 243)).all()

    def test_the_mention_is_seen_however_long_the_sentence(self, font):
        for before, after in (("word " * 90, ""), ("", "longword" * 60), ("longword" * 60, "word " * 90)):
            assert colours(draw_cards("", [card((before, "Ada", after))]))[MARK] > 300

    def test_only_the_mention_is_marked(self, font):
        narrow = colours(draw_cards("", [card(("", "A", "da's engine"))]))[MARK]
        wide = colours(draw_cards("", [card(("", "Ada's engine", ""))]))[MARK]
        assert narrow < wide / 3

    def test_letters_the_font_lacks(self, font):
        text = drawing._legible("Ñandú é 中", font)
        assert text == ("Ñandú é 中" if font.getname()[0] == "DejaVu Sans" else "Nandu e 中")
        assert drawing._legible("Ada", font) == "Ada"

    def test_words(self):
        assert drawing._words(("It is ", False), ("Ada  Lovelace", True), ("'s \n one", False)) == [
            [("It", False)],
            [("is", False)],
            [("Ada", True)],
            [("Lovelace", True), ("'s", False)],
            [("one", False)],
        ]

    @pytest.mark.parametrize("size", [(400, 40), (40, 400), (1, 1), (3000, 1)])
    def test_pictures_keep_their_shape(self, size):
        red = colours(draw_cards("", [card(picture=png("red", size))])).get((255, 0, 0), 0)
        width, height = (round(204 * side / max(size)) for side in size)
        assert red == max(1, width) * max(1, height)

    def test_a_picture_that_cannot_be_read(self):
        broken = {"bytes": b"broken", "path": "x.png"}
        found = colours(draw_cards("", [card(picture=broken, thumbnail=broken)]))
        assert found[179, 38, 30] > 50
