"""Half precision, fused attention and compiling give the vectors of float32."""

import contextlib

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

pytestmark = pytest.mark.gpu
HALF = [torch.bfloat16, torch.float16]
FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]


@torch.inference_mode()
def vectors(model, inputs):
    mentions, entities = inputs
    return model.get_mention_features(**mentions).float(), model.get_entity_features(**entities).float()


@pytest.mark.parametrize("how", ["weights", "autocast"])
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_half_precision_equals_float32(own_model, tiny_inputs, dtype, how):
    expected = vectors(own_model, tiny_inputs)
    model = own_model.to(dtype) if how == "weights" else own_model
    with torch.autocast("cuda", dtype, enabled=how == "autocast"):
        found = vectors(model, tiny_inputs)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-2)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_real_text_weights_in_half_precision_equal_float32(minilm_dir, dtype):
    from dim import DIMModel, DIMProcessor

    sentences = ["Turkey was everywhere that autumn.", "Kiwi", "A long " + "and longer " * 40 + "sentence."]
    processor = DIMProcessor.from_towers(str(minilm_dir), max_text_length=64)
    model = DIMModel.from_towers(str(minilm_dir)).float().to("cuda")
    inputs = processor.process_entities(sentences, ["country around Ankara", "green fruit", ""]).to("cuda")
    with torch.inference_mode():
        expected = model.get_entity_features(**inputs)
        assert (expected @ expected.T).tril(-1).max() < 0.9  # the weights say something
        torch.testing.assert_close(model.to(dtype).get_entity_features(**inputs).float(), expected, rtol=0, atol=2e-2)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_gradients_in_autocast_point_where_those_of_float32_do(own_model, tiny_inputs, dtype):
    mentions, entities = tiny_inputs
    labels = torch.tensor([0, 1, 0, 2], device="cuda")
    found = []
    for enabled in (False, True):
        own_model.zero_grad()
        with torch.autocast("cuda", dtype, enabled=enabled):
            loss = own_model(**mentions, **entities, labels=labels).loss
        (loss * 256).backward()  # as a scaler does: float16 would lose the smallest
        parts = [parameter.grad.flatten() for parameter in own_model.parameters() if parameter.grad is not None]
        found.append(torch.cat(parts).double())
    assert torch.cosine_similarity(*found, dim=0) > 0.999


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_fused_attention_equals_eager(tiny_dim_dir, tiny_inputs, dtype):
    """The towers run on fused kernels alone, also with padding, and give what the plain products give."""
    from dim import DIMModel

    found = {}
    for kind in ("eager", "sdpa"):
        model = DIMModel.from_pretrained(tiny_dim_dir, dtype=dtype, attn_implementation=kind).to("cuda").eval()
        assert model.text_model.config._attn_implementation == kind
        with sdpa_kernel(FUSED) if kind == "sdpa" else contextlib.nullcontext():
            found[kind] = vectors(model, tiny_inputs)
    for ours, theirs in zip(found["sdpa"], found["eager"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-2)


def test_compiled_towers_give_the_same_loss_and_gradients(own_model, tiny_inputs):
    mentions, entities = tiny_inputs
    labels = torch.tensor([0, 1, 0, 2], device="cuda")
    found = []
    for compiled in (False, True):
        if compiled:
            own_model.text_model.compile()
            own_model.vision_model.compile()
        own_model.zero_grad()
        loss = own_model(**mentions, **entities, labels=labels).loss
        loss.backward()
        gradients = {name: each.grad.clone() for name, each in own_model.named_parameters() if each.grad is not None}
        found.append((loss.detach(), gradients))
    (loss, gradients), (compiled_loss, compiled_gradients) = found
    torch.testing.assert_close(compiled_loss, loss, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == compiled_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(compiled_gradients[name], gradient, rtol=1e-3, atol=1e-4, msg=name)
