"""The arguments of a run, from a YAML file and options."""

from pathlib import Path

import pytest

from dim.training.arguments import parse_arguments

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--dataset", "d", "--output_dir", "o", "--text_tower", "t"]


def test_flags_beat_the_file(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("dataset: d\noutput_dir: o\ntext_tower: t\nlearning_rate: 1e-4\nseed: 3\naugment: true\n")
    _, data, train = parse_arguments([str(config), "--seed", "5"])
    assert (train.learning_rate, train.seed, data.augment) == (1e-4, 5, True)


def test_shipped_configs_are_valid():
    configs = set(ROOT.glob("configs/*.yaml")) - {ROOT / "configs" / "ablation.yaml"}  # read by `dim ablate`
    assert configs
    for config in sorted(configs):
        assert parse_arguments([config.stem]) == parse_arguments([str(config)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rte: 1", r"Unknown key 'learning_rte'; did you mean learning_rate\?"),
        ("zzz: 1", "Unknown key 'zzz'; `--help` lists what there is"),
        ("- a\n- b", "must hold `key: value` lines, got a list"),
        ("a: [", "is not valid YAML"),
        ("learning_rate: fast", "argument --learning_rate: invalid float value: 'fast'"),
    ],
)
def test_bad_files(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        parse_arguments([str(tmp_path / "c.yaml"), *FLAGS])


def test_missing_file():
    with pytest.raises(ValueError, match=r"There is no config file nowhere.yaml"):
        parse_arguments(["nowhere.yaml"])
    with pytest.raises(ValueError, match=r"There is no config file wikimel_txt; did you mean wikimel_text\?"):
        parse_arguments(["wikimel_txt"])


def test_a_value_is_checked_wherever_it_stands(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("dataset: d\noutput_dir: o\ntext_tower: t\ntune: lorra\n")
    with pytest.raises(ValueError, match=r"c.yaml: argument --tune: invalid choice: 'lorra'"):
        parse_arguments([str(config)])
    config.write_text("seed: null\nreport_to: [none]\npicture_weights: [0.5, 2]\nmask_text: -x y\nmax_steps: -1\n")
    _, data, train = parse_arguments([str(config), *FLAGS])
    assert (train.seed, train.report_to, train.picture_weights) == (0, [], [0.5, 2.0])
    assert (data.mask_text, train.max_steps) == ("-x y", -1)
    for words, message in ((["--seed", "-1"], "--seed must be at least 0"), (["--dropout", "nan"], "a finite number")):
        with pytest.raises(ValueError, match=message):
            parse_arguments([*FLAGS, *words])
