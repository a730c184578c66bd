"""`dim eval` on a tiny dataset: numbers against a naive ranking, files, and errors."""

import json
import math
from dataclasses import replace

import pytest
import torch
from rapidfuzz import fuzz

from dim.cli.main import main
from dim.corpora.loading import load_entities, load_mentions
from dim.evaluation.outcome import Outcome, crossed_nil, crossed_temperature, halves, run_system
from dim.evaluation.report_numbers import calibration_numbers, histogram, nil_numbers, rank_numbers
from dim.evaluation.run import Settings, evaluate
from dim.evaluation.systems.baselines import BM25, CharNgrams, FuzzyName, Popularity
from dim.evaluation.systems.dim import Encoder, hidden
from dim.evaluation.systems.zero_shot import ZeroShotPicture, ZeroShotText
from dim.metrics.evaluator import RankingEvaluator
from dim.metrics.protocols import CandidateLists


@pytest.fixture(scope="module")
def report(tiny_mel_dir, tiny_dim_dir, tiny_clip_dir):
    clip = str(tiny_clip_dir)
    settings = Settings(str(tiny_mel_dir), str(tiny_dim_dir), text_tower=clip, towers=clip, samples=100, examples=8)
    return evaluate(settings)


def scores_of(system, mentions):
    return torch.cat([scores for _, scores in system.scores(mentions)])


def test_names_of_systems(report):
    assert [system["name"] for system in report.numbers["systems"]] == [
        "DIM", "DIM without sentence", "DIM without picture", "DIM without expert", "fuzzy name", "BM25",
        "character n-grams", "popularity in train", "zero-shot text", "zero-shot picture to text",
    ]  # fmt: skip
    assert report.numbers["not run"] == {}
    assert (report.numbers["mentions"], report.numbers["NIL mentions"], report.numbers["entities"]) == (12, 1, 6)


def test_numbers_are_those_of_a_naive_ranking(report, tiny_mel_dir, tiny_dim_dir):
    from dim.encoding.encode import encode_entities, encode_mentions
    from dim.linking.linker import load_dim

    mentions, entities = load_mentions(str(tiny_mel_dir), "validation"), load_entities(str(tiny_mel_dir))
    model, processor = load_dim(str(tiny_dim_dir))
    queries, keys = encode_mentions(model, processor, mentions), encode_entities(model, processor, entities)
    ranks = []
    for vector, gold in zip(queries, mentions["entity_id"][:], strict=True):
        if gold:
            scores = [float(vector.double() @ key.double()) for key in keys]
            place = entities["id"][:].index(gold)
            ranks.append(1 + sum(score > scores[place] for score in scores))
    metrics = report.numbers["systems"][0]["metrics"]["full_kb"]
    assert metrics["mentions"] == 11
    assert metrics["H@1"]["value"] == pytest.approx(100 * sum(rank == 1 for rank in ranks) / 11)
    assert metrics["MRR"]["value"] == pytest.approx(100 * sum(1 / rank for rank in ranks) / 11)
    assert metrics["mean rank"]["value"] == pytest.approx(sum(ranks) / 11)
    assert metrics["median rank"]["value"] == sorted(ranks)[5]


def test_without_picture_equals_rows_without_one(tiny_mel_dir, tiny_dim_dir):
    mentions, entities = load_mentions(str(tiny_mel_dir), "validation"), load_entities(str(tiny_mel_dir))
    encoder = Encoder.load(tiny_dim_dir, entities)
    whole, *others = encoder.systems(["sentence", "picture", "expert"])
    by_name = {system.name: system for system in others}
    bare = [{**row, "image": None} for row in mentions]
    torch.testing.assert_close(scores_of(by_name["DIM without picture"], mentions), scores_of(whole, bare))
    silent = [{**row, "expert_answer": ""} for row in mentions]
    torch.testing.assert_close(scores_of(by_name["DIM without expert"], mentions), scores_of(whole, silent))
    assert not torch.allclose(scores_of(by_name["DIM without sentence"], mentions), scores_of(whole, mentions))
    assert encoder.model.config.mention_modalities == ["sentence", "picture", "expert"]


def test_a_hidden_sentence_is_hidden_from_the_prior_too(tiny_mel_dir, tiny_dim_dir):
    from dim import DIMModel, DIMProcessor
    from dim.evaluation.systems.dim import DIMSystem
    from dim.lexical_dim import LEXICAL_FEATURES

    model = DIMModel.from_pretrained(tiny_dim_dir, num_lexical_features=len(LEXICAL_FEATURES)).eval()
    entities = load_entities(str(tiny_mel_dir))
    encoder = Encoder(model, DIMProcessor.from_pretrained(tiny_dim_dir), entities)
    read = []
    names = encoder.features
    encoder.features = lambda mentions: read.extend(one.sentence for one in mentions) or names(mentions)
    rows = load_mentions(str(tiny_mel_dir), "validation").select(range(2))
    scores_of(DIMSystem(encoder, "whole"), rows)
    scores_of(DIMSystem(encoder, "bare", without=("sentence",)), rows)
    assert read == [*rows["sentence"][:], "", ""]


def test_hiding_ends_after_an_error(tiny_dim_dir):
    encoder = Encoder.load(tiny_dim_dir, [])

    def fail():
        with hidden(encoder.model, ["picture"]):
            assert encoder.model.config.mention_modalities == ["sentence", "expert"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert encoder.model.config.mention_modalities == ["sentence", "picture", "expert"]


def test_attentions_belong_to_their_mention(tiny_mel_dir, tiny_dim_dir):
    mentions = load_mentions(str(tiny_mel_dir), "validation").select(range(4))
    found = Encoder.load(tiny_dim_dir, []).attentions(mentions)
    for row, weights in zip(mentions, found, strict=True):
        assert sum(weights.values()) == pytest.approx(1)
        assert ("expert" in weights) == bool(row["expert_answer"])


def test_scores_of_baselines():
    names, descriptions = ["Taylor Swift", "Swift", "Opal"], ["singer of songs", "a bird", ""]
    row = {"mention": "Swift", "sentence": "Swift sang her songs."}
    fuzzy = scores_of(FuzzyName(names), [row])[0]
    assert fuzzy[0].item() == pytest.approx(100 + fuzz.ratio("swift", "taylor swift") / 1000, abs=1e-4)
    assert scores_of(BM25(names, descriptions), [row])[0].argmax() == 0  # "songs" decides
    assert scores_of(CharNgrams(names), [row])[0].argmax() == 1
    assert scores_of(CharNgrams(names, [[], [], ["Swift"]]), [row])[0].tolist()[1:] == pytest.approx([1.0, 1.0])


def test_bm25_takes_queries_without_a_known_word():
    rows = [{"mention": text, "sentence": text} for text in ("", "the of and", "zzz", "!?")]
    assert scores_of(BM25(["Ruby", "Opal"], ["red", "white"]), rows).tolist() == [[0.0, 0.0]] * 4


def test_bm25_ignores_stop_words_and_refuses_entities_without_words():
    system = BM25(["The Who", "Who"], ["", "the band"])
    first, second = scores_of(system, [{"mention": "the who", "sentence": ""}, {"mention": "who", "sentence": ""}])
    assert torch.equal(first, second)
    with pytest.raises(ValueError, match="BM25 has nothing to search"):
        BM25(["a", "The"], ["", "!"])


def test_popularity_counts_forms_first():
    system = Popularity(["Swift", "Swift", "swift", "Rome", "x"], [1, 1, 0, 2, -1], 4)
    found = scores_of(system, [{"mention": "SWIFT"}, {"mention": "unknown"}])
    prior = torch.tensor([1, 2, 1, 0]) / 4
    torch.testing.assert_close(found[0], (torch.tensor([1, 2, 0, 0]) + prior) / 4)
    torch.testing.assert_close(found[1], prior)


def test_zero_shot_is_the_cosine_of_the_towers(tiny_clip_dir, tiny_mel_dir):
    from transformers import CLIPModel, CLIPTokenizer

    entities = [{"name": "the cat", "description": "an animal"}, {"name": "a dog", "description": ""}]
    mention = {"mention": "cat", "sentence": "the cat of it", "image": None}
    clip, tokenizer = CLIPModel.from_pretrained(tiny_clip_dir).eval(), CLIPTokenizer.from_pretrained(tiny_clip_dir)

    def encoded(text):
        with torch.no_grad():
            output = clip.get_text_features(**tokenizer([text], return_tensors="pt"))
        vector = output if isinstance(output, torch.Tensor) else output.pooler_output
        return torch.nn.functional.normalize(vector, dim=1)[0]

    expected = [
        float(
            encoded(mention["mention"]) @ encoded(one["name"])
            + encoded(mention["sentence"]) @ encoded(one["description"])
        )
        for one in entities
    ]
    assert scores_of(ZeroShotText(tiny_clip_dir, entities), [mention])[0].tolist() == pytest.approx(expected, abs=1e-5)
    rows = [mention, {**mention, "image": load_mentions(str(tiny_mel_dir), "train")[0]["image"]}]
    found = scores_of(ZeroShotPicture(tiny_clip_dir, entities), rows)
    assert found[0].tolist() == [0.0, 0.0]
    assert found[1].abs().min() > 0


def test_zero_shot_without_tower_raises(tiny_bert_dir):
    with pytest.raises(ValueError, match="no vision tower"):
        ZeroShotPicture(tiny_bert_dir, [])
    with pytest.raises(ValueError, match="There is no encoder './nothing'"):
        ZeroShotText("./nothing", [])


class Fixed:
    """A system whose scores are given, in blocks of two mentions."""

    name = "fixed"

    def __init__(self, scores, probabilistic=True):
        self.table, self.probabilistic = scores, probabilistic

    def scores(self, mentions):
        for start in range(0, len(self.table), 2):
            part = slice(start, min(start + 2, len(self.table)))
            yield part, self.table[part]


def outcome_of(scores, gold, probabilistic=True, **options) -> Outcome:
    mentions = [{"id": f"m{row}"} for row in range(len(gold))]
    return run_system(Fixed(scores, probabilistic), mentions, gold, ["full_kb"], **options)


def test_scores_that_are_not_finite_name_system_and_mention():
    scores = torch.zeros(5, 3)
    scores[3, 1] = math.nan
    with pytest.raises(ValueError, match="fixed: mention 'm3' has a score that is not finite"):
        outcome_of(scores, torch.zeros(5, dtype=torch.int64))


def test_outcome_of_known_scores():
    gold = torch.tensor([0, 1, -1])
    found = outcome_of(torch.tensor([[2.0, 1.0], [5.0, 0.0], [0.0, 3.0]]), gold)
    assert found.ranks["full_kb"].tolist() == pytest.approx([1, 2, math.nan], nan_ok=True)
    assert found.correct.tolist() == [True, False, False]
    assert found.gold_scores.tolist() == pytest.approx([2, 0, math.nan], nan_ok=True)
    assert found.confidence()[0].item() == pytest.approx(1 / (1 + math.exp(-1)))
    assert found.confidence(torch.tensor([2.0, 1.0, 1.0]))[0].item() == pytest.approx(1 / (1 + math.exp(-0.5)))
    tied = outcome_of(torch.zeros(2, 3), torch.tensor([0, 2]))
    assert tied.correct.tolist() == [False, False]  # whatever the order of the knowledge base
    plain = outcome_of(torch.tensor([[2.0, 1.0], [5.0, 0.0], [0.0, 3.0]]), gold, probabilistic=False)
    assert plain.confidence().tolist() == pytest.approx([0, 2 / 3, 1 / 3])


def test_best_entities_use_the_first_protocol():
    """Entity 2 is the best of all, entity 1 the best candidate; one mention has no candidates."""
    scores, gold = torch.tensor([[0.0, 1.0, 9.0]] * 3), torch.tensor([1, 2, 0])
    lists = CandidateLists(torch.tensor([[0, 1], [1, 0], [-1, -1]]))
    mentions = [{"id": "m"}] * 3
    among = run_system(Fixed(scores), mentions, gold, ["candidates", "full_kb"], lists)
    assert among.rows.tolist() == [[1, 0], [1, 0], [-1, -1]]
    assert among.correct.tolist() == [True, False, False]
    assert among.confidence().tolist() == pytest.approx([1 / (1 + math.exp(-1))] * 2 + [0])
    whole = run_system(Fixed(scores), mentions, gold, ["full_kb", "candidates"], lists)
    assert whole.rows[:, 0].tolist() == [2, 2, 2]
    assert whole.correct.tolist() == [False, True, False]
    forced = run_system(Fixed(scores), mentions, gold, ["candidates_dim"], lists)
    assert forced.rows[1:].tolist() == [[2, 1, 0], [0, -1, -1]]
    assert forced.correct.tolist() == [True, True, True]


def test_examples_use_the_first_protocol(tiny_mel_dir, monkeypatch):
    lists = {f"m24-{row}": [] if row == 0 else ["e0", "e1"] for row in range(24)}
    monkeypatch.setattr("dim.evaluation.run.load_candidates", lambda dataset, split: lists)
    settings = Settings(
        str(tiny_mel_dir), split="train", protocols=("candidates", "full_kb"), baselines=("fuzzy",), samples=100
    )
    found = evaluate(settings)
    assert [len(one["found"]) for one in found.examples] == [0] + [2] * 23
    assert {entity["id"] for one in found.examples for entity in one["found"]} == {"e0", "e1"}
    assert found.numbers["systems"][0]["metrics"]["candidates"]["H@20"]["value"] == pytest.approx(100 * 7 / 24)
    assert sum(one["right"] for one in found.examples) == 0  # every gem has the same name: all tie
    monkeypatch.setattr("dim.evaluation.run.load_candidates", lambda dataset, split: {})
    with pytest.raises(ValueError, match="no gold is among its candidates"):
        evaluate(replace(settings, protocols=("candidates_normalised",)))


def test_missing_towers_raise_before_encoding(tiny_mel_dir, tiny_dim_dir, monkeypatch):
    monkeypatch.setattr("dim.evaluation.systems.dim.encode_entities", lambda *a, **k: pytest.fail("long work"))
    settings = Settings(str(tiny_mel_dir), str(tiny_dim_dir), baselines=("text",), text_tower="./nothing", samples=100)
    with pytest.raises(ValueError, match="There is no encoder './nothing'"):
        evaluate(settings)


def test_mentions_are_encoded_once_for_systems_that_differ_in_scores(tiny_mel_dir, tiny_dim_dir, monkeypatch):
    from dim.evaluation.systems import dim as models

    counted = []
    real = models.encode_mentions
    monkeypatch.setattr(models, "encode_mentions", lambda *a, **k: counted.append(1) or real(*a, **k))
    mentions, entities = load_mentions(str(tiny_mel_dir), "validation"), load_entities(str(tiny_mel_dir))
    encoder = Encoder.load(tiny_dim_dir, entities)
    whole, bare = models.DIMSystem(encoder, "a"), models.DIMSystem(encoder, "b", prior=False)
    hidden_one = models.DIMSystem(encoder, "c", without=("picture",))
    first = scores_of(whole, mentions)
    torch.testing.assert_close(scores_of(bare, mentions), first)
    assert len(counted) == 1
    assert not torch.allclose(scores_of(hidden_one, mentions), first)
    torch.testing.assert_close(scores_of(whole, mentions), first)
    other = mentions.select(range(2))
    assert len(scores_of(whole, other)) == 2
    assert len(counted) == 4


def test_cross_fitting_uses_the_other_half():
    """The best temperatures of the halves are 1 and 4; each half uses that of the other."""
    generator = torch.Generator().manual_seed(0)
    half = torch.arange(8000) % 2 == 0
    made = 3 * torch.randn(8000, 4, generator=generator)
    gold = torch.multinomial(torch.softmax(made, 1), 1, generator=generator)[:, 0]
    scores = torch.where(half[:, None], made, 4 * made)
    temperature = crossed_temperature(outcome_of(scores, gold), half)
    assert temperature[half].unique().item() == pytest.approx(4, rel=0.1)
    assert temperature[~half].unique().item() == pytest.approx(1, rel=0.1)
    confidence = torch.where(half, torch.tensor([0.2]), torch.tensor([0.6]))
    nil = torch.where(half, -1, 0)
    assert crossed_nil(confidence, nil, half)[half].float().mean() == 0  # the other half has no NIL to learn from
    assert halves(["a b", "c", "a b"]).tolist()[0] == halves(["a b"]).item()


def test_numbers_of_ranks():
    ranks = torch.tensor([1.0, 3.0, math.inf, math.nan, 1.5], dtype=torch.float64)
    found = rank_numbers(ranks, list("abcde"), 2000, 0)
    assert found["mentions"] == 4
    assert found["H@1"]["value"] == 25
    assert found["mean rank"] is None
    assert found["median rank"]["value"] == 1.5
    assert found["median rank"]["low"] == 1
    assert found["median rank"]["high"] is None
    assert rank_numbers(ranks[[3]], ["a"], 200, 0) == {"mentions": 0}
    assert sum(histogram(ranks).values()) == 4


def test_calibration_and_nil_have_intervals_around_them():
    generator = torch.Generator().manual_seed(0)
    scores = 2 * torch.randn(400, 5, generator=generator)
    gold = scores.argmax(1).where(torch.rand(400, generator=generator) < 0.6, torch.tensor(-1))
    found, half = outcome_of(scores, gold), torch.arange(400) % 2 == 0
    groups = list(range(400))
    for kind in calibration_numbers(found, half, groups, 200, 0).values():
        assert kind["ECE"]["low"] <= kind["ECE"]["value"] * 1.5
        assert sum(one["count"] for one in kind["bins"]) == 400
    nil = nil_numbers(found, half, groups, 200, 0)
    assert nil["NIL mentions"] == int((gold < 0).sum())
    for name in ("NIL precision", "NIL recall", "NIL F1"):
        assert nil[name]["low"] <= nil[name]["value"] <= nil[name]["high"]
    assert nil_numbers(outcome_of(scores, scores.argmax(1)), half, groups, 200, 0) is None


def test_evaluator_ranks_under_each_protocol():
    scores, gold = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 0.0, 0.0]]), torch.tensor([0, 2, -1])
    lists = CandidateLists(torch.tensor([[1, 0], [1, 2], [0, 1]]))
    blocks = [(slice(0, 2), scores[:2]), (slice(2, 3), scores[2:])]
    evaluator = RankingEvaluator(
        lambda model: blocks, gold, name="dev", protocols=("full_kb", "candidates"), lists=lists, metric="H@1"
    )
    found = evaluator(None)
    assert evaluator.greater_is_better
    assert evaluator.primary_metric == "dev_full_kb_H@1"
    assert found["dev_full_kb_H@1"] == 50
    assert found["dev_full_kb_MRR"] == pytest.approx(100 * (1 + 1 / 3) / 2)
    assert found["dev_candidates_MRR"] == pytest.approx(100 * (1 + 1 / 2) / 2)
    for wrong, message in (
        ([blocks[1]], "expected scores of the mentions from 0 on"),
        ([blocks[0]], "only 2 of 3 mentions were scored"),
    ):
        with pytest.raises(ValueError, match=message):
            RankingEvaluator(lambda model, wrong=wrong: wrong, gold)(None)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"metric": "accuracy"}, "metric is 'accuracy'"),
        ({"gold": torch.tensor([-1])}, "nothing to rank"),
        ({"protocols": ("candidates",)}, "needs candidates"),
        ({"protocols": ("kb",)}, "there is no protocol 'kb'"),
    ],
)
def test_invalid_evaluators_raise(options, message):
    with pytest.raises(ValueError, match=message):
        RankingEvaluator(lambda model: [], options.pop("gold", torch.tensor([0])), **options)


def test_command_writes_three_files_and_candidates_count_misses(tiny_mel_dir, tmp_path, capsys):
    out = tmp_path / "report"
    arguments = ["eval", "--dataset", str(tiny_mel_dir), "--split", "train", "--out", str(out), "--samples", "100"]
    assert main([*arguments, "--protocol", "full_kb", "candidates", "--baselines", "fuzzy", "popularity"]) == 0
    numbers = json.loads((out / "report.json").read_text())
    assert numbers["candidates"] == {"recall@1": pytest.approx(100 / 6), "recall@10": 100, "recall@100": 100}
    assert list(numbers["protocols"]) == ["full_kb", "candidates"]
    assert numbers["not run"] == {"popularity": "no training split with answers"}
    text = (out / "report.md").read_text()
    assert "## Protocol `candidates`" in text
    assert "Not run: popularity" in text
    assert "fuzzy name" in capsys.readouterr().out
    assert (out / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    "change, message",
    [
        (["--dataset", "./nothing"], "There is no dataset folder ./nothing"),
        (["--model", "./nothing"], "There is no model './nothing'"),
        (["--split", "test"], "cannot give the split 'test'"),
        (["--protocol", "kb"], "there is no protocol 'kb'"),
        (["--protocol", "candidates"], "has no candidates for the split 'validation'"),
        (["--baselines", "bm26"], "there is no baseline 'bm26'; there are fuzzy"),
        (["--slices", "colour"], "there is no slice 'colour'"),
        (["--samples", "5"], "samples is 5: give at least 100"),
        (["--baselines", "none"], "nothing to evaluate"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(change, message, tiny_mel_dir, tmp_path, capsys):
    assert main(["eval", "--dataset", str(tiny_mel_dir), "--out", str(tmp_path / "x"), *change]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("dim eval: ")
    assert message in error


def test_runs_are_reproducible(report, tiny_mel_dir, tiny_dim_dir, tiny_clip_dir):
    clip = str(tiny_clip_dir)
    again = evaluate(
        Settings(str(tiny_mel_dir), str(tiny_dim_dir), text_tower=clip, towers=clip, samples=100, examples=8)
    )
    assert json.dumps(again.numbers) == json.dumps(report.numbers)
    assert again.examples == report.examples


def test_content_of_examples(report):
    assert len(report.examples) == 8
    for one in report.examples:
        assert len(one["found"]) == 5
        assert one["right"] == one["found"][0]["right"]
        assert one["picture"].startswith("data:image/jpeg;base64,")
        assert set(one["ranks"]) == {system["name"] for system in report.numbers["systems"]}
    nil = [one for one in report.examples if one["gold"] is None]
    assert all(not one["right"] and one["ranks"]["DIM"] is None for one in nil)
