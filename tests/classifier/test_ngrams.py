from array import array

import pytest

from guardproxy.classifier.ngrams import BUCKETS, MAX_WORDS, NgramModel, buckets, words


def model(**weights: int) -> NgramModel:
    table = array("b", bytes(BUCKETS))
    for word, weight in weights.items():
        (bucket,) = buckets(word) - buckets("") - _pairs(word)
        table[bucket] = weight
    return NgramModel(table, 0.5, -1.0)


def _pairs(word: str) -> set[int]:
    from zlib import crc32

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
