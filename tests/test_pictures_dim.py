"""What pictures cost through every door, and their pixels where the package is not installed."""

import doctest
import importlib
import io
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from handmade_png import png
from PIL import Image, PngImagePlugin

from dim import DIMModel, DIMProcessor, encode_entities, encode_mentions, load_picture
from dim.pictures_dim import rgb_picture

HELPERS = Path(__file__).parent / "helpers"


@pytest.fixture(scope="module")
def published(tiny_clip_dir, tmp_path_factory):
    """A model and its processor as they are published."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    DIMModel.from_towers(str(tiny_clip_dir), num_attention_heads=4, entity_pictures=True).save_pretrained(folder)
    DIMProcessor.from_towers(str(tiny_clip_dir)).save_pretrained(folder)
    return folder


def pictures() -> dict[str, Image.Image]:
    """A picture of each mode, and of shapes that are cut or squeezed."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 4), dtype=np.uint8))
    found = {mode: noise.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F")}
    found["I;16"] = Image.fromarray(np.asarray(noise)[..., 0].astype(np.uint16) * 257)
    found["clear"] = noise.convert("P")
    found["clear"].info["transparency"] = 3
    turned = Image.Exif()
    turned[0x0112] = 6
    found["turned"] = noise.convert("RGB")
    found["turned"].info["exif"] = turned.tobytes()
    found["tall"], found["wide"] = noise.resize((3, 500)), noise.resize((500, 3))
    return found


def test_processor_encoder_and_loader_give_the_same_vectors(published):
    model, processor = DIMModel.from_pretrained(published).eval(), DIMProcessor.from_pretrained(published)
    for name, picture in pictures().items():
        row = {"mention": "a", "sentence": "a b", "start": 0, "end": 1}
        with torch.inference_mode():
            given = model.get_mention_features(**processor.process_mentions(["a"], ["a b"], [picture]))
            loaded = model.get_mention_features(**processor.process_mentions(["a"], ["a b"], [load_picture(picture)]))
            entity = model.get_entity_features(**processor.process_entities(["a"], ["b"], [[picture]]))
        assert torch.equal(given, loaded), name
        assert torch.equal(given, encode_mentions(model, processor, [row | {"image": picture}])), name
        encoded = encode_entities(model, processor, [{"name": "a", "description": "b", "images": [picture]}])
        assert torch.equal(entity, encoded), name


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_transparent_grey_of_a_png_is_the_one_in_its_file(bits):
    values = range(min(1 << bits, 16))
    row = sum(value << bits * place for place, value in enumerate(reversed(values)))
    rows = b"\0" + row.to_bytes(-(-bits * len(values) // 8), "big") if bits != 1 else b"\0\x40"
    for clear in values:
        file = png(0, bits, (len(values), 1), rows, (b"tRNS", struct.pack(">H", clear)))
        expected = [255 if value == clear else value * 255 // ((1 << bits) - 1) for value in values]
        assert np.asarray(load_picture(file))[0, :, 0].tolist() == expected, clear
        opened = Image.open(io.BytesIO(file))
        assert np.asarray(rgb_picture(opened))[0, :, 0].tolist() == expected, clear
        assert opened.info["transparency"] in (clear, 255 * clear)  # the caller's image is not changed


def test_the_transparent_colour_of_a_png_of_16_bits_is_the_one_in_its_file():
    colours = [(0x1234, 0xAB00, 0xFFFF), (0x0012, 0x00AB, 0x00FF), (0x9934, 0xAB00, 0xFFFF)]
    rows = b"\0" + struct.pack(">9H", *sum(colours, ()))
    file = png(2, 16, (3, 1), rows, (b"tRNS", struct.pack(">3H", *colours[0])))
    assert np.asarray(load_picture(file))[0].tolist() == [[255, 255, 255], [0, 0, 0], [0x99, 0xAB, 0xFF]]


@pytest.mark.parametrize("top", [1, 255])
def test_floats_that_overshoot_their_range_are_refused_and_not_black(top):
    values = np.linspace(0, top, 12).reshape(3, 4)
    assert np.asarray(rgb_picture(values)).max() == 255
    for picture in (values * 1.02, torch.from_numpy(values * 1.02), Image.fromarray((values * 1.5).astype(np.float32))):
        with pytest.raises(ValueError, match=r"has values 0\.0\.\..*: give values in .*, and clip what overshoots"):
            rgb_picture(picture)


def test_an_open_file_is_refused_as_no_picture():
    with pytest.raises(ValueError, match="is not a PIL image, an array, a tensor or the bytes of a file"):
        rgb_picture(io.BytesIO(b"abc"))


STRANGER = """
import importlib.abc, io, json, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "dim" or name.startswith("dim."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import torch
from pathlib import Path
from PIL import Image
from transformers import AutoProcessor
folder, found = Path(sys.argv[1]), {}
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
assert type(processor).__module__.startswith("transformers_modules."), type(processor)
for path in sorted(Path(sys.argv[2]).iterdir()):
    found[path.name] = processor(images=[{"bytes": path.read_bytes()}])["pixel_values"]
    if path.name != "long text":  # Pillow alone refuses it
        assert torch.equal(processor(images=[Image.open(path)])["pixel_values"], found[path.name]), path
torch.save(found, sys.argv[3])
"""


def test_a_stranger_without_the_package_sees_the_same_pixels(published, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, picture in pictures().items():
        kind = "TIFF" if name in ("LA", "CMYK", "F", "I") else "PNG"
        options = {"exif": picture.info["exif"]} if name == "turned" else {}
        picture.save(folder / name.replace(";", ""), kind, **options)
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 2_000_000, zip=True)
    Image.effect_noise((40, 30), 60).save(folder / "long text", "PNG", pnginfo=text)
    target = tmp_path / "found.pt"
    run(STRANGER, str(published), str(folder), str(target), cwd=tmp_path)
    found, processor = torch.load(target, weights_only=True), DIMProcessor.from_pretrained(published)
    assert len(found) == len(pictures()) + 1
    for path in folder.iterdir():
        expected = processor.image_processor([load_picture(path)], return_tensors="pt")["pixel_values"]
        if path.name not in ("tall", "wide"):
            assert torch.equal(found[path.name], expected), path.name
        assert torch.equal(found[path.name], processor(images=[load_picture(path)])["pixel_values"]), path.name


COSTS = """
import io, json, sys, time
sys.path.insert(0, sys.argv[2])
import torch
from pathlib import Path
from PIL import Image
from transformers import BlipImageProcessorPil, CLIPImageProcessorPil
from dim import DIMModel, DIMProcessor, encode_entities, encode_mentions, load_picture
from dim.pictures_dim import prepare_picture
from dim.experts.blip2 import Blip2Expert
from dim.training.banks import PictureBank
from tiny_blip2 import save_tiny_blip2
torch.set_num_threads(1)
model, tiny = DIMModel.from_pretrained(sys.argv[1]).eval(), DIMProcessor.from_pretrained(sys.argv[1])
full = DIMProcessor(CLIPImageProcessorPil(), tiny.tokenizer)
squeezing = DIMProcessor(BlipImageProcessorPil(), tiny.tokenizer)
folder = Path(sys.argv[3])
expert = Blip2Expert.from_pretrained(str(save_tiny_blip2(folder / "blip2")))
prepare = expert.processor.image_processor = BlipImageProcessorPil()
row = {"mention": "a", "sentence": "a b", "start": 0, "end": 1}
def ask(content):  # up to the tower, which takes 32 pixels
    expert._inputs([prepare_picture(load_picture(content), prepare)], ["a"])
doors = {
    "processor": lambda content: full(images=[Image.open(io.BytesIO(content))]),
    "squeezing": lambda content: squeezing(images=[Image.open(io.BytesIO(content))]),
    "mentions": lambda content: encode_mentions(model, tiny, [row | {"image": content}]),
    "entities": lambda content: encode_entities(model, tiny, [{"name": "a", "description": "", "images": [content]}]),
    "training": lambda content: PictureBank.build([lambda: content], full, folder / "bank"),
    "expert": ask,
}
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
def reset():
    Path("/proc/self/clear_refs").write_text("5")
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1024
small = io.BytesIO(); Image.new("RGB", (8, 8)).save(small, "PNG")
for door in doors.values():
    door(small.getvalue())
found = {}
shapes = [(1, 3000), (1, 60_000), (60_000, 1), (250, 4000), (1000, 1000)]
files = [("RGB", "PNG", shape) for shape in [*shapes, (1, 1_000_000), (1_000_000, 1)]]
modes = [("P", "GIF"), ("I;16", "PNG"), ("CMYK", "TIFF")]
files += [(mode, kind, shape) for mode, kind in modes for shape in shapes[2:]]
for mode, kind, shape in files:
    buffer = io.BytesIO()
    Image.new(mode, shape).save(buffer, kind)
    for name, door in doors.items():
        before, start = reset(), time.process_time()
        door(buffer.getvalue())
        found[f"{name} {mode} {shape}"] = [peak() - before, time.process_time() - start]
print(json.dumps(found))
"""


def run(code: str, *arguments: str, cwd: Path) -> str:
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure memory")
def test_no_picture_of_a_megapixel_costs_much_memory_or_time(published, tmp_path):
    found = json.loads(run(COSTS, str(published), str(HELPERS), str(tmp_path), cwd=tmp_path).splitlines()[-1])
    assert len(found) == 6 * 16
    assert {name: cost for name, cost in found.items() if cost[0] > 200} == {}
    assert {name: cost for name, cost in found.items() if cost[1] > 0.5} == {}


def test_docstring_examples():
    results = doctest.testmod(importlib.import_module("dim.pictures_dim"))
    assert results.attempted >= 4
    assert results.failed == 0
