import numpy as np

from tlpipe.data.shingles import content_hash, folded, near_texts, shingles, similarity

WORDS = [f"{a}{b}{c}" for a in "bcdfg" for b in "aeiou" for c in "klmnp"]


def sentence(seed: int, words: int = 30) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, words))


def test_folding_forgets_case_and_punctuation_and_keeps_pairs_apart():
    assert folded(("The  CAT, (sat)!",)) == "the cat sat"
    assert folded(("a b", "c")) != folded(("a", "b c"))


def test_exact_copies_differ_in_white_space_and_unicode_form_only():
    assert content_hash(("größe  x ",)) == content_hash(("gro\u0308ße x",))
    assert content_hash(("a", "b")) != content_hash(("a b",))
    assert content_hash(("Film",)) != content_hash(("film",))


def test_similarity_is_that_of_the_sets_of_5_grams():
    first, second = "abcdefgh", "abcdefgz"
    sets = [{text[at : at + 5] for at in range(4)} for text in (first, second)]
    expected = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    assert similarity(shingles((first,)), shingles((second,))) == expected
    assert similarity(shingles(("ab",)), shingles(("ab",))) == 1
    assert similarity(shingles(("ab",)), shingles(("xy",))) == 0


def test_every_copy_is_found_and_nothing_else():
    texts = {index: (sentence(index),) for index in range(300)}
    for index in range(0, 300, 10):
        words = texts[index][0].split()
        words[7] = "changed"
        texts[1000 + index] = (" ".join(words).upper() + "!",)
    found = near_texts({index: shingles(text) for index, text in texts.items()}, 0.75)
    assert set(found) == {(index, 1000 + index) for index in range(0, 300, 10)}
    for (first, second), value in found.items():
        assert value == similarity(shingles(texts[first]), shingles(texts[second]))


def test_few_texts():
    assert near_texts({}, 0.8) == {}
    assert near_texts({3: shingles(("alone",))}, 0.8) == {}
