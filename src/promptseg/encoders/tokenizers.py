"""Convert texts to token ids. Nothing here imports torch.

Shapes: N texts, T tokens.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from promptseg import weights
from promptseg.encoders.tower_facts import TextTowerFacts, text_tower_facts
from promptseg.errors import WeightsError
from promptseg.weights import ReportProgress

logger = logging.getLogger(__name__)

CLIP_END_TOKEN = 49407  # also used as padding; its first occurrence ends the text
BYTES_PADDING = 256

TokenArrays = tuple[NDArray[np.int64], NDArray[np.bool_]]


class Tokenizer(Protocol):
    """Converts texts to tokens."""

    def __call__(self, texts: Sequence[str]) -> TokenArrays:
        """Return token ids, shape (N, T), and their mask, shape (N, T): True for real tokens, False for padding."""
        ...


class BackendTokenizer:
    """A tokenizer of Hugging Face. Texts that are too long are truncated with a logged warning.

    Args:
        backend: A `tokenizers.Tokenizer`.
        max_tokens: Maximum number of tokens, special tokens included.
        pad_id: Token that pads shorter sequences.
        pad_token: Text of that token.
    """

    def __init__(self, backend: Any, *, max_tokens: int, pad_id: int, pad_token: str) -> None:
        backend.enable_truncation(max_tokens)
        backend.enable_padding(pad_id=pad_id, pad_token=pad_token)
        self.backend = backend
        self._max_tokens = max_tokens

    def __call__(self, texts: Sequence[str]) -> TokenArrays:
        """Return token ids, shape (N, T), int64, and their mask, shape (N, T), bool."""
        encoded = self.backend.encode_batch(list(texts))
        for text, encoding in zip(texts, encoded, strict=True):
            if encoding.overflowing:
                logger.warning("cut to its first %d tokens: %.60s...", self._max_tokens, text)
        token_ids = np.array([encoding.ids for encoding in encoded], dtype=np.int64)
        return token_ids, np.array([encoding.attention_mask for encoding in encoded], dtype=np.bool_)


class BytesTokenizer:
    """The bytes of UTF-8 as tokens, for tests.

    Args:
        max_tokens: Maximum number of tokens.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens

    def __call__(self, texts: Sequence[str]) -> TokenArrays:
        """Return token ids, shape (N, T), int64, and their mask, shape (N, T), bool."""
        encoded = [list(text.encode())[: self._max_tokens] or [BYTES_PADDING] for text in texts]
        longest = max(len(ids) for ids in encoded)
        token_ids = np.array([ids + [BYTES_PADDING] * (longest - len(ids)) for ids in encoded], dtype=np.int64)
        return token_ids, np.arange(longest) < np.array([len(ids) for ids in encoded])[:, None]


class MissingTokenizer:
    """Placeholder for a vocabulary that is not loaded: a network can be built without one, but can't encode texts.

    Args:
        name: Name of the text tower.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, texts: Sequence[str]) -> TokenArrays:
        """Refuse to convert texts.

        Raises:
            WeightsError: Always.
        """
        raise WeightsError(f"{self._name} has no vocabulary yet: load its weights first")


def load_tokenizer(text_tower: str, *, offline: bool = False, progress: ReportProgress | None = None) -> Tokenizer:
    """Load the tokenizer of a text tower; its vocabulary is fetched with the tower's weights.

    Args:
        text_tower: Name of a row of `TEXT_TOWER_FACTS`.
        offline: Don't access the network.
        progress: Called with (name, bytes fetched, total bytes) while files are fetched.

    Raises:
        UnknownModelError: There is no tower of that name.
        WeightsError: The vocabulary can't be fetched or read.
    """
    facts = text_tower_facts(text_tower)
    if facts.tokenizer == "bytes":
        return BytesTokenizer(facts.max_tokens)
    names = facts.weights or ("clip-tokenizer",)
    if facts.tokenizer == "clip":
        if not weights.is_cached(weights.find_record(names[0])):  # the weights of the tower may come from a checkpoint
            names = ("clip-tokenizer",)
        return read_clip(weights.resolve(names[0], offline=offline, progress=progress), facts)
    (name,) = names
    return read_wordpiece(weights.resolve(name, offline=offline, progress=progress), facts)


def read_wordpiece(directory: Path, facts: TextTowerFacts) -> Tokenizer:
    """Read BERT's lower-case WordPiece tokenizer from a directory with vocab.txt.

    Raises:
        WeightsError: The directory has no vocab.txt.
    """
    # imported here because only models with a text tower need it
    from tokenizers import BertWordPieceTokenizer

    path = directory / "vocab.txt"
    if not path.is_file():
        raise WeightsError(f"{directory} has no vocab.txt")
    backend = BertWordPieceTokenizer(str(path), lowercase=True)._tokenizer
    return BackendTokenizer(backend, max_tokens=facts.max_tokens, pad_id=0, pad_token="[PAD]")


def read_clip(directory: Path, facts: TextTowerFacts) -> Tokenizer:
    """Read CLIP's tokenizer from a directory that transformers' CLIPTokenizer loads."""
    # imported here because the import of transformers takes seconds
    from transformers import CLIPTokenizer

    backend = CLIPTokenizer.from_pretrained(directory, local_files_only=True).backend_tokenizer
    return BackendTokenizer(backend, max_tokens=facts.max_tokens, pad_id=CLIP_END_TOKEN, pad_token="<|endoftext|>")
