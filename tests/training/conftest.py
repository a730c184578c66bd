"""The tiny dataset, prepared for training."""

import pytest


@pytest.fixture(scope="session")
def mel_data(tiny_mel_dir, tiny_dim_dir, tmp_path_factory):
    from dim import DIMConfig, DIMProcessor
    from dim.lexical_dim import LEXICAL_FEATURES
    from dim.training.arguments import DataArguments
    from dim.training.data import MELData

    arguments = DataArguments(
        dataset=str(tiny_mel_dir), negatives="candidates", num_candidates=2, picture_dropout=0.5, mention_masking=0.5
    )
    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    config = DIMConfig(num_lexical_features=len(LEXICAL_FEATURES))
    return MELData(arguments, processor, tmp_path_factory.mktemp("bank") / "pictures.u8", config)
