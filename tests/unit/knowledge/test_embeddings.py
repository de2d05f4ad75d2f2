"""The fast embedder gives what the library gives, and is blind to its batch."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wordllama
from hypothesis import given, settings
from hypothesis import strategies as st

from datalane.errors import ConfigurationError, InvalidInput
from datalane.knowledge.embeddings import EmptyEmbeddingInput, WordLlamaEmbedder, passage_text, split_words

HARD = [
    "a", " ", "  ", "\n", "a  b", " lead", "trail ", "tab\tand\r\nlines\n\n", "▁", "▁▁ a ▁", "<", "<s", "<s>",
    "x<s>y <unk> </s>z", "é\u0301 😀", "日本語テキスト", "\0", "\u2028x", "a" * 5000, "word " * 2000,
]  # fmt: skip


@cache
def reference() -> Any:
    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)


@cache
def embedder() -> WordLlamaEmbedder:
    return WordLlamaEmbedder()


def test_vectors_equal_the_library_on_hard_texts() -> None:
    expected = reference().embed(HARD, norm=True)
    assert np.abs(embedder().embed(HARD) - expected).max() < 1e-5


@settings(deadline=None)
@given(st.lists(st.text(alphabet=st.sampled_from("ab \n▁<s>/é😀\u0301日\t."), min_size=1), min_size=1, max_size=70))
def test_vectors_equal_the_library_on_any_text(texts: list[str]) -> None:
    expected = reference().embed(texts, norm=True)
    assert np.abs(embedder().embed(texts) - expected).max() < 1e-5


def test_words_may_be_tokenised_alone_because_no_token_crosses_a_border() -> None:
    vocabulary = reference().tokenizer.get_vocab()
    assert len(vocabulary) == 32_000
    assert [token for token in vocabulary if re.search("[^▁]▁|\n", token)] == []


@settings(deadline=None)
@given(st.text())
def test_split_words_loses_nothing(text: str) -> None:
    plain = text.replace("<", "")
    assert "".join(split_words(plain)) == ("▁" + plain.replace(" ", "▁"))


def test_a_text_has_the_same_vector_in_any_batch() -> None:
    together = embedder().embed(HARD * 4)
    for index, text in enumerate(HARD):
        assert (WordLlamaEmbedder().embed([text])[0] == together[index]).all()
        assert (together[index] == together[index + len(HARD)]).all()


def test_vectors_are_float32_of_length_one() -> None:
    vectors = embedder().embed(["one", "two words", "three more words"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, embedder().dimensions)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_no_texts_give_an_empty_array() -> None:
    assert embedder().embed([]).shape == (0, 256)


def test_an_empty_text_is_an_error_that_names_its_position() -> None:
    with pytest.raises(EmptyEmbeddingInput, match="Text 1"):
        embedder().embed(["good", ""])


def test_a_lone_surrogate_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="surrogate"):
        embedder().embed(["half \ud83d"])


def test_a_missing_model_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="wordllama"):
        WordLlamaEmbedder(tmp_path).load()


def test_the_version_follows_the_files_of_the_model() -> None:
    assert re.fullmatch("[0-9a-f]{12}", embedder().version)
    assert embedder().version == WordLlamaEmbedder().version


def test_the_word_cache_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datalane.knowledge.embeddings._CACHED_WORDS", 10)
    bounded = WordLlamaEmbedder()
    texts = [f"word{i} other{i} third{i}" for i in range(200)]
    assert (bounded.embed(texts) == embedder().embed(texts)).all()
    assert len(bounded._words._known) <= 10


def test_a_passage_is_the_title_and_the_chunk() -> None:
    assert passage_text("Wings", "lift and drag") == "Wings\nlift and drag"
    assert passage_text(None, "lift and drag") == "lift and drag"
