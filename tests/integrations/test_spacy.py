"""The component of spaCy, in real pipelines."""

import json
import subprocess
import sys
from itertools import chain

import pytest
from serving_server import make, png

from dim import Calibration, DIMLinker, PictureError
from dim.lexical_dim import LEXICAL_FEATURES

spacy = pytest.importorskip("spacy", reason="the component needs spaCy")
EntityLinker, DocBin = spacy.pipeline.EntityLinker, spacy.tokens.DocBin

TEXTS = ["We saw Amber and Jade here.", "", "Nothing. Here is Coral. Amber lay far away.", "Jade number 9"]
RED, BLUE = png("red"), png("blue")


@pytest.fixture(scope="module")
def folders(tiny_dim_dir, tmp_path_factory):
    return make(tmp_path_factory.mktemp("spacy"), tiny_dim_dir)


@pytest.fixture(scope="module")
def linker(folders):
    return DIMLinker.from_pretrained(*folders, device="cpu")


def pipeline(folders, *before, **config):
    """A blank pipeline that finds names of stones and links them."""
    nlp = spacy.blank("en")
    for name in before:
        nlp.add_pipe(name)
    patterns = [{"label": "STONE", "pattern": name} for name in ("Amber", "Jade", "Coral", "Jade number 9", "z. Amber")]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    paths = {"model": str(folders[0]), "kb": str(folders[1]), "device": "cpu"}
    nlp.add_pipe("dim_linker", config=paths | config)
    return nlp


def equal(ent, links):
    """Checks that an entity has the links of the linker."""
    expected = links.to_dict()
    found = ent._.links
    assert ent.kb_id_ == links[0].id
    assert [one["id"] for one in found["entities"]] == [one["id"] for one in expected["entities"]]
    for one, other in zip(found["entities"], expected["entities"], strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-4)


def test_links_are_the_linkers_with_the_whole_text_or_the_sentence_as_context(folders, linker):
    first, second = pipeline(folders, k=3)(TEXTS[0]).ents
    equal(first, linker(TEXTS[0], "Amber", k=3))
    equal(second, linker(TEXTS[0], "Jade", k=3))
    coral, amber = pipeline(folders, "sentencizer", k=3)(TEXTS[2]).ents
    equal(coral, linker("Here is Coral.", "Coral", k=3))
    equal(amber, linker("Amber lay far away.", "Amber", k=3))
    assert coral._.links["entities"][0]["score"] != pytest.approx(
        linker(TEXTS[2], "Coral", k=1)[0].score, abs=1e-4
    )  # so the context counts


def test_an_entity_that_goes_on_behind_its_sentence(folders, linker):
    nlp = pipeline(folders, "sentencizer")
    nlp.get_pipe("entity_ruler").add_patterns([{"label": "STONE", "pattern": "away. Jade"}])
    [ent] = nlp("It lay away. Jade too.").ents
    equal(ent, linker("It lay away. Jade", "away. Jade"))


def test_many_documents_are_linked_in_one_call_as_one_at_a_time(folders, monkeypatch):
    nlp = pipeline(folders)
    alone = [nlp(text) for text in TEXTS]
    component, sizes = nlp.get_pipe("dim_linker"), []
    link = component.linker.link
    monkeypatch.setattr(component.linker, "link", lambda rows, k: sizes.append(len(rows)) or link(rows, k))
    together = list(nlp.pipe(TEXTS, batch_size=3))
    assert sizes == [4, 1]  # of three documents, and of the last
    assert [doc.text for doc in together] == TEXTS
    ents, others = (list(chain.from_iterable(doc.ents for doc in docs)) for docs in (together, alone))
    assert len(ents) == 5
    for ent, other in zip(ents, others, strict=True):
        assert (ent.text, ent.kb_id_) == (other.text, other.kb_id_)
        scores, expected = ([one["score"] for one in each._.links["entities"]] for each in (ent, other))
        assert scores == pytest.approx(expected, abs=1e-4)


def test_pictures(folders, linker):
    nlp = pipeline(folders)
    docs = [nlp.make_doc("We saw Jade.") for _ in range(4)]
    docs[0]._.image, docs[1]._.image, docs[2]._.image = RED, [RED, BLUE], None
    for doc, image in zip(nlp.pipe(docs), (RED, [RED, BLUE], None, None), strict=True):
        equal(doc.ents[0], linker("We saw Jade.", "Jade", image))
    assert docs[0].ents[0]._.links != docs[3].ents[0]._.links
    docs[0]._.image = b"no picture"
    with pytest.raises(PictureError, match="is not a picture"):
        nlp(docs[0])


def test_nil_is_spacys(folders):
    nlp = pipeline(folders)
    evidence = ["best_score", "margin", "best_vector_score", "others", *LEXICAL_FEATURES]
    nlp.get_pipe("dim_linker").linker.calibration = Calibration(2.0, 1000.0, dict.fromkeys(evidence, 0.0), 0.5, {})
    [ent] = nlp("We saw Jade.").ents
    assert (ent.kb_id_, len(ent._.links["entities"])) == (EntityLinker.NIL, 5)
    assert (ent._.links["is_nil"], ent._.links["nil"]) == (True, pytest.approx(1))


def test_a_saved_pipeline_and_saved_documents(folders, tmp_path):
    nlp = pipeline(folders, k=2)
    doc = nlp(TEXTS[0])
    nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    assert [(ent.kb_id_, ent._.links) for ent in loaded(TEXTS[0]).ents] == [
        (ent.kb_id_, ent._.links) for ent in doc.ents
    ]
    DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / "docs.spacy")
    [read] = DocBin().from_disk(tmp_path / "docs.spacy").get_docs(loaded.vocab)
    assert [ent.kb_id_ for ent in read.ents] == [ent.kb_id_ for ent in doc.ents]
    assert [json.dumps(ent._.links) for ent in read.ents] == [json.dumps(ent._.links) for ent in doc.ents]


def test_spacy_finds_the_factory_without_an_import_of_ours():
    code = "import spacy; print(spacy.blank('en').has_factory('dim_linker'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_missing_knowledge_base_is_one_line(folders, tmp_path):
    with pytest.raises(ValueError, match="is not a knowledge base") as caught:
        pipeline((folders[0], tmp_path / "missing"))
    assert "\n" not in str(caught.value)
