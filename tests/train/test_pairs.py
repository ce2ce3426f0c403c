"""BERT's pretraining data: who is neighbour of whom, what is hidden, and in which proportions."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tlpipe.config import ConfigError
from tlpipe.data.corpus import SPECIAL, Corpus, pack_corpus, read_documents, train_wordpiece
from tlpipe.train.pretraining.sentence_pairs import IGNORED, Pair, assemble, collate, mask, pairs

WORDS = [f"word{a}{b}" for a in "abcdefgh" for b in "klmnopqr"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    generator = np.random.default_rng(0)
    documents = [
        [" ".join(generator.choice(WORDS, generator.integers(1, 12))) + "." for _ in range(generator.integers(1, 9))]
        for _ in range(60)
    ]
    text = "\n\n".join("\n".join(document) for document in documents)
    (folder / "all.txt").write_text(text)
    assert list(read_documents([str(folder / "all.txt")])) == documents
    train_wordpiece((line for document in documents for line in document), 60, True, folder / "tokenizer.json")
    assert sum(pack_corpus(documents, folder / "tokenizer.json", folder / "packed")) == sum(map(len, documents))
    return Corpus.open(folder / "packed")


def document_of(corpus: Corpus, token: int) -> int:
    sentence = int(np.searchsorted(corpus.sentences, token, side="right")) - 1
    return int(np.searchsorted(corpus.documents, sentence, side="right")) - 1


def draw(corpus: Corpus, seed: int = 0, length: int = 30) -> list[Pair]:
    return pairs(corpus, range(len(corpus.documents) - 1), length, np.random.default_rng(seed))


def test_neighbours_follow_and_negatives_are_from_another_document(corpus: Corpus):
    for pair in draw(corpus):
        assert pair.first[0] < pair.first[1]
        assert pair.second[0] < pair.second[1]
        same = document_of(corpus, pair.first[0]) == document_of(corpus, pair.second[0])
        assert same is pair.follows
        assert not pair.follows or pair.second[0] == pair.first[1]


def test_half_of_the_pairs_are_neighbours_within_three_sigma(corpus: Corpus):
    follows = [pair.follows for seed in range(40) for pair in draw(corpus, seed)]
    assert abs(np.mean(follows) - 0.5) < 3 * 0.5 / math.sqrt(len(follows))


def test_every_token_is_in_a_first_segment_or_follows_one(corpus: Corpus):
    seen = np.zeros(len(corpus.tokens), int)
    for pair in draw(corpus):
        seen[pair.first[0] : pair.first[1]] += 1
        if pair.follows:
            seen[pair.second[0] : pair.second[1]] += 1
    assert (seen == 1).all()


def test_equal_seeds_draw_equal_pairs(corpus: Corpus):
    assert draw(corpus, 3) == draw(corpus, 3) != draw(corpus, 4)


def test_a_pair_is_assembled_with_its_special_tokens_and_cut_to_the_length(corpus: Corpus):
    begin, end = corpus.special["[CLS]"], corpus.special["[SEP]"]
    for ids, types in assemble(corpus, draw(corpus, length=80), 24, np.random.default_rng(0)):
        assert len(ids) <= 24
        assert ids[0] == begin
        assert (ids == end).sum() == 2
        assert ids[-1] == end
        assert types.tolist() == sorted(types.tolist())
        assert (types == 0).sum() == np.flatnonzero(ids == end)[0] + 1


def masked(corpus: Corpus, whole: bool, rounds: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(original, shown, labels) of many sequences, one after the other."""
    rows = [row[0] for row in assemble(corpus, draw(corpus, length=60), 60, np.random.default_rng(0))]
    parts = []
    for seed in range(rounds):
        ids = rows[seed % len(rows)]
        shown, labels = mask(ids, corpus, 0.15, whole, np.random.default_rng(seed))
        usable = int((~np.isin(ids, list(corpus.special.values()))).sum())
        chosen = int((labels != IGNORED).sum())
        wanted = max(1, round(0.15 * len(ids)))
        assert chosen <= wanted or (whole and chosen <= usable)
        assert whole or chosen == min(wanted, usable)
        parts.append((ids, shown, labels))
    original, shown, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
    return original, shown, labels


@pytest.mark.parametrize("whole", [False, True])
def test_proportions_within_three_sigma_and_never_a_special_token(corpus: Corpus, whole: bool):
    original, shown, labels = masked(corpus, whole)
    special = list(corpus.special.values())
    chosen = labels != IGNORED
    assert not np.isin(original[chosen], special).any()
    assert (labels[chosen] == original[chosen]).all()
    assert (shown[~chosen] == original[~chosen]).all()
    hidden = shown[chosen] == corpus.special["[MASK]"]
    kept = shown[chosen] == original[chosen]
    vocabulary = len(corpus.continues) - len(SPECIAL)
    # one of the random tokens in `vocabulary` is the original itself
    for share, expected in ((hidden, 0.8), (kept, 0.1 + 0.1 / vocabulary)):
        sigma = math.sqrt(expected * (1 - expected) / chosen.sum())
        assert abs(share.mean() - expected) < 3 * sigma
    replaced = shown[chosen][~hidden & ~kept]
    assert len(replaced)
    assert not np.isin(replaced, special).any()


def test_whole_words_are_hidden_with_all_their_pieces(corpus: Corpus):
    rows = [row[0] for row in assemble(corpus, draw(corpus, length=60), 60, np.random.default_rng(0))]
    assert any(corpus.continues[row].any() for row in rows)
    for seed, ids in enumerate(rows):
        _, labels = mask(ids, corpus, 0.3, True, np.random.default_rng(seed))
        chosen = labels != IGNORED
        goes_on = np.flatnonzero(corpus.continues[ids])
        # a first piece may have been cut off with its segment's front
        inside = [at for at in goes_on if ids[at - 1] not in corpus.special.values()]
        assert all(chosen[at] == chosen[at - 1] for at in inside)


def test_a_batch_is_padded_and_padding_is_never_predicted(corpus: Corpus):
    drawn = draw(corpus)[:8]
    batch = collate(corpus, drawn, 40, (0.15, False), np.random.default_rng(0))
    padding = batch.tokens[:, 1] == 0
    assert padding.any()
    assert (batch.tokens[:, 0][padding] == corpus.special["[PAD]"]).all()
    assert (batch.labels[padding] == IGNORED).all()
    assert batch.unrelated.tolist() == [int(not pair.follows) for pair in drawn]


def test_packing_needs_memory_for_a_part_and_not_for_the_corpus(tmp_path: Path):
    train_wordpiece(["a b c"], 100, True, tmp_path / "tokenizer.json")

    def peak(documents: int) -> int:
        made = (["a b c " * 40] * 20 for _ in range(documents))
        tracemalloc.start()
        for _ in pack_corpus(made, tmp_path / "tokenizer.json", tmp_path / "out"):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(Corpus.open(tmp_path / "out").tokens) == documents * 20 * 120
        return most

    peak(2)
    few, many = peak(200), peak(1000)
    grown = 800 * 20 * 120 * 4  # bytes of the tokens that are more
    assert many - few < grown / 8


def test_what_cannot_be_a_corpus_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="does not exist"):
        list(read_documents([str(tmp_path / "none.txt")]))
    with pytest.raises(ConfigError, match=r"no \.txt files"):
        list(read_documents([str(tmp_path)]))
    (tmp_path / "latin.txt").write_bytes("größe".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        list(read_documents([str(tmp_path)]))
    train_wordpiece(["a b c"], 100, True, tmp_path / "tokenizer.json")
    with pytest.raises(ConfigError, match="two documents"):
        list(pack_corpus([["a b."]], tmp_path / "tokenizer.json", tmp_path / "out"))
