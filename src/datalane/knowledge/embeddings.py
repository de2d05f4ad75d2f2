"""Text to vectors: the `Embedder` protocol and the offline default.

The default is WordLlama's static table: a text's vector is the mean of its tokens' rows, brought to length 1. Two facts
make it fast without changing the result:

- The tokenizer's merges never cross from a character into a following space mark or line feed (a test holds the
  vocabulary to that), so a text tokenises word by word and a word seen before needs no tokenizer at all.
- The rows are 16-bit floats. Their sums in 64 bits are exact in any order, so a sum over a batch may be one matrix
  product, and a text has the same vector, bit for bit, whatever batch it came in.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from datalane.errors import ConfigurationError, InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Vectors = NDArray[np.float32]


class EmptyEmbeddingInput(InvalidInput):
    """A text without any character has no vector."""

    code = "empty_embedding_input"


class Embedder(Protocol):
    """Turns texts into vectors. `(name, version)` identifies the vectors: another version is another space."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def dimensions(self) -> int: ...
    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, float32, shape (len(texts), dimensions). Raises EmptyEmbeddingInput."""
        ...


def passage_text(title: str | None, passage: str) -> str:
    """What is embedded and indexed for a chunk: its document's title, then the chunk."""
    return f"{title}\n{passage}" if title else passage


class WordLlamaEmbedder:
    """WordLlama `l2_supercat`, 256 dimensions, from the files of the installed package; no network.

    The files are read directly: importing the package would configure the root logger and take most of a second.
    Loading happens at first use (about 0.3 s with numpy, 80 MB). Safe to share between threads.
    """

    name = "wordllama-l2-supercat"
    dimensions = 256

    _WEIGHTS = "weights/l2_supercat_256.safetensors"
    _TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @cached_property
    def version(self) -> str:
        """Digest of weights and tokenizer: it changes exactly when the vectors can."""
        digest = hashlib.sha256(self._file(self._WEIGHTS).read_bytes())
        digest.update(self._file(self._TOKENIZER).read_bytes())
        return digest.hexdigest()[:12]

    @cached_property
    def _table(self) -> NDArray[Any]:
        from safetensors.numpy import load_file

        return load_file(self._file(self._WEIGHTS))["embedding.weight"]

    @cached_property
    def _words(self) -> WordTokens:
        from tokenizers import Tokenizer

        return WordTokens(Tokenizer.from_file(str(self._file(self._TOKENIZER))))

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, float32, shape (len(texts), 256).

        Raises EmptyEmbeddingInput for an empty text, InvalidInput for a lone surrogate.
        """
        import numpy as np

        for position, text in enumerate(texts):
            if not text:
                raise EmptyEmbeddingInput(f"Text {position} is empty: it has no vector.")
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for begin in range(0, len(texts), _BLOCK):
            block = texts[begin : begin + _BLOCK]
            vectors[begin : begin + len(block)] = self._embed_block(block)
        return vectors

    def load(self) -> None:
        """Load weights and tokenizer now. Raises ConfigurationError when the files are missing."""
        _ = self._table, self._words

    def _embed_block(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        tokens = self._words.tokenize([split_words(text) for text in texts])
        lengths = [len(ids) for ids in tokens]
        flat = np.fromiter(chain.from_iterable(tokens), dtype=np.int64, count=sum(lengths))
        np.minimum(flat, len(self._table) - 1, out=flat)
        distinct, places = np.unique(flat, return_inverse=True)
        places += np.repeat(np.arange(len(texts)) * len(distinct), lengths)
        counts = np.bincount(places, minlength=len(texts) * len(distinct)).reshape(len(texts), -1)
        sums = counts.astype(np.float64) @ self._table[distinct].astype(np.float64)
        # The mean and the sum point the same way, and only the direction is kept.
        norms = np.sqrt(np.einsum("ij,ij->i", sums, sums))
        vectors: Vectors = (sums / norms[:, None]).astype(np.float32)
        return vectors

    def _file(self, name: str) -> Path:
        folder = self._folder
        if folder is None:
            spec = find_spec("wordllama")
            folder = Path(spec.origin).parent if spec is not None and spec.origin else Path("wordllama")
        path = folder / name
        if not path.is_file():
            raise ConfigurationError(
                f"The embedding model file {path} is missing. Install the `wordllama` package again."
            )
        return path


_BLOCK = 32
"""Texts per matrix product: small, because the product is dense over the block's distinct words."""
_SPACE_MARK = "\u2581"
_WORD = re.compile(f"{_SPACE_MARK}+[^{_SPACE_MARK}\n]*|[^{_SPACE_MARK}\n]+|\n+")
_SPECIAL = re.compile("(<s>|</s>|<unk>)")
_CACHED_WORDS = 65_536
_CACHED_LENGTH = 32


def split_words(text: str) -> list[str]:
    """Pieces of `text`, spaces written as marks, that the tokenizer can take one by one.

    The tokenizer cuts its own special tokens out first and puts a space mark before every part between them.
    """
    if "<" not in text or not (parts := _SPECIAL.split(text))[1:]:
        return _WORD.findall(_SPACE_MARK + text.replace(" ", _SPACE_MARK))
    words: list[str] = []
    for part in parts:
        if _SPECIAL.fullmatch(part):
            words.append(part)
        elif part:
            words += split_words(part)
    return words


class WordTokens:
    """Token ids of words, remembered up to a bounded number.

    Words are only ever added to a shared dictionary, never taken out of it, so threads may share one instance.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        from tokenizers.normalizers import Sequence as NormalizerSequence

        tokenizer.no_padding()
        tokenizer.no_truncation()
        # `split_words` has done the normaliser's work; a second mark in front of each word would be wrong.
        tokenizer.normalizer = NormalizerSequence([])
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def tokenize(self, texts: list[list[str]]) -> list[list[int]]:
        """Token ids of each text, given as words. Raises InvalidInput for a lone surrogate."""
        known = self._known
        unknown = list(set(chain.from_iterable(texts)).difference(known))
        if unknown:
            fresh = self._tokenize_words(unknown)
            if len(known) + len(fresh) > _CACHED_WORDS:
                self._known = {}
                known = known | fresh
            elif max(map(len, unknown)) > _CACHED_LENGTH:
                known = known | fresh
            else:
                known.update(fresh)
        return [list(chain.from_iterable(map(known.__getitem__, words))) for words in texts]

    def _tokenize_words(self, words: list[str]) -> dict[str, list[int]]:
        try:
            encoded = self._tokenizer.encode_batch_fast(words, add_special_tokens=False)
        except (UnicodeEncodeError, TypeError) as error:
            raise InvalidInput("The text holds a lone surrogate, which is half of a character.") from error
        return {word: encoding.ids for word, encoding in zip(words, encoded, strict=True)}
