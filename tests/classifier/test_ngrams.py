from array import array
from itertools import pairwise
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.classifier.ngrams import BUCKETS, MAX_WORDS, NgramModel, buckets, words


def model(**weights: int) -> NgramModel:
    table = array("b", bytes(BUCKETS))
    for word, weight in weights.items():
        (bucket,) = buckets(word) - buckets("") - _pairs(word)
        table[bucket] = weight
    return NgramModel(table, 0.5, -1.0)


def _pairs(word: str) -> set[int]:
    return {crc32(pair.encode()) % BUCKETS for pair in (f"< {word}", f"{word} >")}


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("Pay 1,200.50 to bob@evil.example NOW", "pay <number> to <mail> now"),
        ("see https://x.example/a?b=c, then", "see <link> then"),
        ("rm -rf /home/ann/src", "rm - rf <path>"),
        ("token a1b2c3d4", "token <code>"),
        ("支付", "支付"),
    ],
)
def test_particulars_become_what_they_are(text: str, known: str) -> None:
    assert " ".join(words(text)) == f"< {known} >"


def test_the_margin_is_the_bias_and_the_weights_of_what_is_there_once() -> None:
    pay = model(pay=4, stop=-2)
    assert pay.margin("nothing") == -1.0
    assert pay.margin("pay") == 1.0
    assert pay.margin("PAY pay pay") == 1.0
    assert pay.margin("pay stop") == 0.0


def test_long_texts_are_read_up_to_a_bound() -> None:
    assert sum(1 for _ in words("a " * 10 * MAX_WORDS)) == MAX_WORDS + 1


PIECES = st.sampled_from(
    [
        *(
            "Pay",
            "NOW",
            "bob@evil.example",
            "/etc/passwd",
            "a/b",
            "https://x.example/?a=1",
            "www.x.example",
            "1,200.50",
        ),
        *(
            "a1b2c3d4",
            "it's",
            "--",
            "\u0130stanbul",
            "\u03a3\u03a3",
            "\ud800",
            "\u8f6c\u8d26",
            "_x_",
            "\u0663",
            "\n",
            ". ",
        ),
    ]
)


@given(st.lists(PIECES | st.text(max_size=6), max_size=12).map(" ".join))
def test_words_and_pairs_are_counted_at_the_checksum_of_what_they_say(text: str) -> None:
    said = [word.encode("utf-8", "surrogatepass") for word in words(text)]
    assert buckets(text) == {crc32(word) % BUCKETS for word in [*said, *map(b" ".join, pairwise(said))]}


@given(st.lists(PIECES, max_size=8))
def test_a_text_without_particulars_reads_the_same_beside_one_with_all(pieces: list[str]) -> None:
    """The expressions that are tried depend on what the text holds, and the words on what stands there."""
    beside = words(" ".join([*pieces, "a@b.example", "c/d", "www.e.example", "7"]))
    assert beside == [*words(" ".join(pieces))[:-1], "<mail>", "<path>", "<link>", "<number>", ">"]
