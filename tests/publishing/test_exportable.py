"""Compiled and exported encoders give the model's own vectors, for any number of rows, with and without pictures."""

import pytest
import torch
from PIL import Image

from dim import DIMModel, DIMProcessor
from dim.publishing.exportable import Encoder, example_inputs

SIDES = ("mention", "entity")


@pytest.fixture(scope="module")
def dim(tiny_dim_dir):
    """A model whose weights all matter, and a processor that pads to one short length."""
    torch.manual_seed(0)
    model = DIMModel.from_pretrained(tiny_dim_dir).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model, DIMProcessor.from_pretrained(tiny_dim_dir, text_padding="max_length", max_text_length=16)


def batches(processor, side):
    """One row without a picture, and three of which some have one and the expert says something about some."""
    red, blue = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (20, 50), "navy")
    for images in ([None], [red, None, blue]):
        rows = len(images)
        names = ["Turkey", "Ada", "Paris"][:rows]
        if side == "mention":
            sentences = [f"{name} is in the news." for name in names]
            batch = processor.process_mentions(
                names, sentences, [image or red for image in images], [None, "a", "b"][:rows]
            )
            batch["pixel_mask"] = torch.tensor([image is not None for image in images])
        else:
            batch = processor.process_entities(names, ["bird", "", "city"][:rows], [[image or red] for image in images])
            batch["entity_pixel_mask"] = torch.tensor([[image is not None] for image in images])
        yield {name: values for name, values in batch.items() if not name.endswith("truncated_tokens")}


def own_vectors(model, side, batch):
    with torch.no_grad():
        return (model.get_mention_features if side == "mention" else model.get_entity_features)(**batch)


@pytest.fixture(scope="module", params=SIDES)
def exported(request, dim):
    """A side, its encoder as a graph of torch, and as one of ONNX made from it."""
    model, processor = dim
    inputs = example_inputs(processor, request.param)
    rows = torch.export.Dim("rows", min=1, max=4096)
    # strict: without it, `len` of a tensor fixes the number of rows
    shapes = {"inputs": {name: {0: rows} for name in inputs}}
    encoder = Encoder(model, request.param)
    with torch.no_grad():
        return request.param, torch.export.export(encoder, (inputs,), dynamic_shapes=shapes, strict=True)


@pytest.mark.parametrize("side", SIDES)
def test_encoder_is_the_model(dim, side):
    model, processor = dim
    encoder = Encoder(model, side)
    for batch in batches(processor, side):
        with torch.no_grad():
            torch.testing.assert_close(encoder(batch), own_vectors(model, side, batch), rtol=0, atol=1e-6)
    assert type(model) is DIMModel
    assert encoder.model.text_projection.weight is model.text_projection.weight


@pytest.mark.parametrize("side", SIDES)
def test_compiled(dim, side):
    """In one graph; the model itself compiles, too, with breaks where it looks at masks."""
    model, processor = dim
    torch._dynamo.reset()
    compiled = torch.compile(Encoder(model, side), backend="aot_eager", fullgraph=True)
    whole = torch.compile(
        model.get_mention_features if side == "mention" else model.get_entity_features, backend="eager"
    )
    for batch in batches(processor, side):
        expected = own_vectors(model, side, batch)
        with torch.no_grad():
            torch.testing.assert_close(compiled(batch), expected, rtol=0, atol=1e-6)
            torch.testing.assert_close(whole(**batch), expected, rtol=0, atol=1e-6)


def test_exported(dim, exported):
    model, processor = dim
    side, graph = exported
    for batch in batches(processor, side):
        with torch.no_grad():
            torch.testing.assert_close(graph.module()(batch), own_vectors(model, side, batch), rtol=0, atol=1e-6)


def test_onnx(dim, exported, tmp_path):
    pytest.importorskip("onnxscript", reason="needs onnx, onnxscript and onnxruntime")
    onnxruntime = pytest.importorskip("onnxruntime")
    model, processor = dim
    side, graph = exported
    torch.onnx.export(graph, (), dynamo=True, verbose=False).save(tmp_path / "encoder.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx", providers=["CPUExecutionProvider"])
    names = {one.name: one.name.removeprefix("inputs_") for one in session.get_inputs()}
    assert set(names.values()) == set(example_inputs(processor, side))
    for batch in batches(processor, side):
        [found] = session.run(None, {name: batch[own].numpy() for name, own in names.items()})
        expected = own_vectors(model, side, batch)
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-5)


def test_sides(dim):
    with pytest.raises(ValueError, match="side is 'left': it must be one of mention, entity"):
        Encoder(dim[0], "left")
    with pytest.raises(ValueError, match="side is 'left'"):
        example_inputs(dim[1], "left")
    texts = example_inputs(dim[1], "mention", pictures=False, expert=False)
    assert sorted(texts) == ["mention_attention_mask", "mention_input_ids", "sentence_attention_mask",
                             "sentence_input_ids"]  # fmt: skip
