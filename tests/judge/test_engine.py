"""Runs tiny models in llama.cpp: one of random weights, one that says harmful the more `!` it reads, a slow one."""

import asyncio
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from guardproxy.breaker import Breaker, BreakerState
from guardproxy.errors import ConfigurationError
from guardproxy.flights import Failure, Timeout, Unavailable
from guardproxy.judge.causal import Context, Model
from guardproxy.judge.engine import LocalJudge, Prompt, go_on, harm, load_judge, prepare, tokens_of
from guardproxy.judge.formats import FORMATS, FormatName, Part, Piece, Verdict
from guardproxy.judge.judge import Judge
from guardproxy.judge.view import view_of
from guardproxy.llamacpp import Aborted, EncodeFailure
from guardproxy.model import Request, ToolCall

Calls = Callable[..., ToolCall]
Requests = Callable[..., Request]
Writes = Callable[..., Path]

PATIENT = 60.0
NAMES = [name for name in FormatName if name is not FormatName.AUTO]
LONG = {"text": "word " * 3000}  # fills every window


def score(judge: Judge, call: ToolCall, request: Request, deadline_s: float = PATIENT) -> float:
    return asyncio.run(judge.score(call, request, deadline_s))


@pytest.fixture(scope="module")
def judge(random_model: Path) -> Iterator[LocalJudge]:
    found = load_judge(random_model, workers=2, threads=1)
    yield found
    found.close()


@pytest.fixture
def slow(slow_model: Path) -> Iterator[LocalJudge]:
    found = load_judge(slow_model, threads=1, queue=1)
    yield found
    found.close()


@pytest.fixture
def model(random_model: Path) -> Iterator[Model]:
    found = Model(random_model)
    yield found
    found.close()


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_a_verdict_that_follows_what_is_read(
    name: FormatName, counting_model: Path, call: Calls, request_of: Requests
) -> None:
    judge = load_judge(counting_model, format_name=name, context_tokens=4096, threads=1)
    try:
        assert judge.format is name
        calm, loud = (score(judge, call({"text": text * 700}), request_of()) for text in ("a", "!"))
        assert 0 <= calm < 0.2 < 0.5 < loud <= 1
    finally:
        judge.close()


def test_what_the_result_and_the_task_say_is_read_too(counting_model: Path, call: Calls, request_of: Requests) -> None:
    judge = load_judge(counting_model, context_tokens=4096, threads=1)
    try:
        calm = score(judge, call({}), request_of())
        assert score(judge, call({}), request_of(results=["!" * 500])) > calm + 0.1
        assert score(judge, call({}), request_of(task="!" * 500)) > calm + 0.1
    finally:
        judge.close()


def test_the_prefix_that_was_kept_gives_the_logits_of_a_fresh_reading(
    judge: LocalJudge, model: Model, random_model: Path, call: Calls, request_of: Requests
) -> None:
    prompt = judge._prompt
    every = list(range(256))
    kept, fresh = Context(model, 2048, 1), Context(model, 2048, 1)
    try:
        kept.read(prompt.prefix)
        for task in ("A first task.", "Another one, which is longer.", "A third."):
            body = prompt.format.body(view_of(call({"a": task}), request_of(task=task)))
            tokens = [
                *prompt.prefix,
                *(token for piece in body for token in tokens_of(model, piece, prompt.marks)),
                *prompt.suffix,
            ]
            go_on(kept, len(prompt.prefix), tokens)
            fresh.rewind(0)
            fresh.read(tokens)
            assert kept.length == fresh.length == len(tokens)
            assert kept.logits(every) == pytest.approx(fresh.logits(every), abs=2e-3)
            assert max(fresh.logits(every)) - min(fresh.logits(every)) > 0.5  # they say something
            expected = harm(fresh.logits([token for token, _ in prompt.words]), prompt.words)
            assert score(judge, call({"a": task}), request_of(task=task)) == pytest.approx(expected, abs=1e-3)
    finally:
        kept.close()
        fresh.close()


def test_a_memory_that_cannot_be_cut_is_read_anew(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of recurrent models."""
    context = Context(model, 256, 1)
    tokens = list(range(60, 120))
    try:
        context.read(tokens)
        whole = context.logits(range(256))
        monkeypatch.setattr(context._llama, "llama_memory_seq_rm", lambda *_: False)
        go_on(context, 20, tokens)
        assert context.length == 60
        assert context.logits(range(256)) == pytest.approx(whole, abs=1e-4)
    finally:
        context.close()


def test_a_rewind_never_claims_to_know_more_than_was_read(model: Model) -> None:
    context = Context(model, 256, 1)
    try:
        context.read([97] * 10)
        context.rewind(50)
        assert context.length == 10
        go_on(context, 50, [97] * 60)
        assert context.length == 60
    finally:
        context.close()


def test_verdicts_do_not_depend_on_what_was_judged_before(judge: LocalJudge, call: Calls, request_of: Requests) -> None:
    first = score(judge, call({"a": 1}), request_of())
    for text in ("x", "y" * 3000, "z" * 50):
        score(judge, call({"a": text}), request_of(results=[text]))
    assert score(judge, call({"a": 1}), request_of()) == pytest.approx(first, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_no_text_becomes_a_special_token(
    name: FormatName, counting_model: Path, call: Calls, request_of: Requests
) -> None:
    """Neither through the view, which bends the marks, nor past it."""
    judge = load_judge(counting_model, format_name=name, context_tokens=4096, threads=1)
    marks = " ".join(sorted({mark for each in FORMATS.values() for mark in each.special}))
    try:
        model = judge._model
        assert any(map(model.is_mark, model.tokenize(marks, special=True)))
        for part in Part:
            found = [t for t in tokens_of(model, Piece(part, marks), judge._prompt.marks) if model.is_mark(t)]
            assert bool(found) is (part is Part.TEMPLATE)
        shown = view_of(call({"a": marks}, name=marks), request_of(task=marks, results=[marks], description=marks))
        for piece in judge._prompt.format.body(shown):
            if piece.part is not Part.TEMPLATE:
                assert not any(map(model.is_mark, model.tokenize(piece.text, special=True)))
    finally:
        judge.close()


def test_marks_that_are_found_in_any_text_are_left_out_of_it(tmp_path: Path, write: Writes) -> None:
    """As a vocabulary has them that declares its marks as its user's own words."""
    judge = load_judge(write(tmp_path / "tiny.gguf", mark_type=4), format_name=FormatName.QWEN3GUARD, threads=1)
    try:
        text = "a<|im_start|>b<|im_start|>"  # llama.cpp itself makes `<|im_end|>` one that is not
        assert any(map(judge._model.is_mark, judge._model.tokenize(text, special=False)))
        assert tokens_of(judge._model, Piece(Part.CALL, text), judge._prompt.marks) == judge._model.tokenize(
            "ab", special=False
        )
    finally:
        judge.close()


def test_a_long_call_is_read_in_windows_of_which_the_worst_counts(
    counting_model: Path, call: Calls, request_of: Requests
) -> None:
    judge = load_judge(counting_model, context_tokens=2048, threads=1)
    try:
        calm = score(judge, call({"a": "a" * 3000}), request_of())
        late = score(judge, call({"a": "a" * 2500 + "!" * 500}), request_of())
        assert judge.truncated == 0
        assert late > calm + 0.1
        score(judge, call({"a": "a" * 20_000}), request_of())
        assert judge.truncated == 1
        score(judge, call({"a": "a"}), request_of(results=["b" * 9000]))
        assert judge.truncated == 2
    finally:
        judge.close()


@pytest.mark.parametrize(
    "arguments",
    ["", "\x00", "\ud800" * 100, "\U0001f600" * 5000, "日本語" * 9000, "x" * 1_000_000],
    ids=["empty", "nul", "surrogates", "emoji", "cjk", "megabyte"],
)
def test_odd_arguments_get_a_verdict(judge: LocalJudge, call: Calls, request_of: Requests, arguments: str) -> None:
    assert 0 <= score(judge, call(arguments, name="\ud800\n"), request_of(task="", results=["\udfff"])) <= 1


def test_workers_do_not_mix_up_their_calls(judge: LocalJudge, call: Calls, request_of: Requests) -> None:
    calls = [call({"n": i, "text": "x" * i}) for i in range(12)]
    alone = [score(judge, each, request_of()) for each in calls]

    async def together() -> list[float]:
        return list(await asyncio.gather(*(judge.score(each, request_of(), PATIENT) for each in calls)))

    for _ in range(3):
        assert asyncio.run(together()) == pytest.approx(alone, abs=1e-6)


def test_the_deadline_is_kept_the_work_is_dropped_and_the_judge_works_on(
    slow: LocalJudge, call: Calls, request_of: Requests
) -> None:
    began = time.perf_counter()
    score(slow, call(LONG), request_of())
    alone = time.perf_counter() - began
    began = time.perf_counter()
    with pytest.raises(Timeout):
        score(slow, call(LONG), request_of(), 0.05)
    assert time.perf_counter() - began < alone / 2
    began = time.perf_counter()
    assert 0 <= score(slow, call({}), request_of()) <= 1
    assert time.perf_counter() - began < alone / 2  # the abandoned work did not hold the only worker
    assert slow.queue_depth == 0


def test_an_aborted_context_reads_on_after_a_rewind(slow_model: Path) -> None:
    model = Model(slow_model)
    context = Context(model, 2048, 1)
    tokens = [97] * 1500
    try:
        context.read(tokens[:500])
        timer = threading.Timer(0.05, context.abort)
        timer.start()
        with pytest.raises(Aborted):
            context.read(tokens[500:])
        timer.join()
        with pytest.raises(Aborted):
            context.read([97])
        context.rearm()
        go_on(context, 500, tokens)
        aborted = context.logits(range(256))
        context.rewind(0)
        context.read(tokens)
        assert aborted == pytest.approx(context.logits(range(256)), abs=2e-3)
    finally:
        context.close()
        model.close()


def test_the_event_loop_is_not_blocked(slow: LocalJudge, call: Calls, request_of: Requests) -> None:
    async def longest_pause() -> tuple[float, float]:
        began = time.perf_counter()
        task = asyncio.ensure_future(slow.score(call(LONG), request_of(), PATIENT))
        longest = 0.0
        while not task.done():
            tick = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - tick)
        return longest, time.perf_counter() - began

    longest, whole = asyncio.run(longest_pause())
    assert longest < max(whole / 2, 0.2)


def test_an_idle_judge_uses_no_cpu(judge: LocalJudge, call: Calls, request_of: Requests) -> None:
    score(judge, call({}), request_of())
    time.sleep(0.3)
    began = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - began < 0.02


def test_one_call_asked_about_twice_at_once_is_judged_once(slow: LocalJudge, call: Calls, request_of: Requests) -> None:
    async def many() -> list[float]:
        return list(await asyncio.gather(*(slow.score(call(LONG), request_of(), PATIENT) for _ in range(20))))

    assert len(set(asyncio.run(many()))) == 1  # with a queue of one, twenty flights would have been refused
    assert slow.truncated == 1


def test_a_full_queue_refuses_at_once_and_a_cancelled_waiter_leaves_the_others_alone(
    slow: LocalJudge, call: Calls, request_of: Requests
) -> None:
    async def three() -> None:
        running = asyncio.ensure_future(slow.score(call(LONG), request_of(), PATIENT))
        leaves = asyncio.ensure_future(slow.score(call(LONG), request_of(), PATIENT))
        await asyncio.sleep(0)
        while slow.queue_depth:
            await asyncio.sleep(0.001)
        waiting = asyncio.ensure_future(slow.score(call({"waits": 1}), request_of(), PATIENT))
        await asyncio.sleep(0)
        assert slow.queue_depth == 1
        with pytest.raises(Unavailable, match="queue"):
            await slow.score(call({"refused": 1}), request_of(), PATIENT)
        leaves.cancel()
        await asyncio.gather(running, waiting)
        with pytest.raises(asyncio.CancelledError):
            await leaves

    asyncio.run(three())
    assert slow.breaker_state is BreakerState.CLOSED


def judge_with(path: Path, breaker: Breaker) -> LocalJudge:
    model = Model(path)
    prompt = prepare(model, FORMATS[FormatName.QWEN3GUARD], path)
    return LocalJudge(model, prompt, revision="r", context_tokens=2048, workers=1, threads=1, queue=4, breaker=breaker)


def test_a_broken_model_fails_and_is_then_left_alone(
    tmp_path: Path, write: Writes, call: Calls, request_of: Requests
) -> None:
    judge = judge_with(write(tmp_path / "nan.gguf", broken=True), Breaker(failures=2, rest_s=60))
    try:
        for i in range(2):
            with pytest.raises(Failure, match="not finite"):
                score(judge, call({"i": i}), request_of())
        assert judge.breaker_state is BreakerState.OPEN
        with pytest.raises(Unavailable, match="breaker"):
            score(judge, call({}), request_of())
    finally:
        judge.close()


def test_deadlines_missed_in_a_row_open_the_breaker(slow_model: Path, call: Calls, request_of: Requests) -> None:
    judge = judge_with(slow_model, Breaker(failures=3, rest_s=60))
    try:
        for _ in range(3):
            with pytest.raises(Timeout):
                score(judge, call(LONG), request_of(), 0.01)
        assert judge.breaker_state is BreakerState.OPEN
    finally:
        judge.close()


def test_close_ends_what_runs_leaves_no_thread_and_may_be_repeated(
    slow_model: Path, call: Calls, request_of: Requests
) -> None:
    before = set(threading.enumerate())
    judge = load_judge(slow_model, threads=1)

    async def closed_meanwhile() -> None:
        tasks = [asyncio.ensure_future(judge.score(call(LONG | {"i": i}), request_of(), PATIENT)) for i in range(3)]
        await asyncio.sleep(0.05)
        await asyncio.to_thread(judge.close)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, Unavailable)
        with pytest.raises(Unavailable, match="closed"):
            await judge.score(call({}), request_of(), PATIENT)

    asyncio.run(closed_meanwhile())
    judge.close()
    assert [t.name for t in set(threading.enumerate()) - before if "judge" in t.name] == []


@pytest.mark.parametrize("ending", ["judge.close()", "pass"])
def test_the_interpreter_exits_cleanly_and_silently(random_model: Path, ending: str) -> None:
    program = f"""
import asyncio, sys
from pathlib import Path
from guardproxy.judge.engine import load_judge
from guardproxy.model import CallKey, CallKind, Request, ToolCall
judge = load_judge(Path({str(random_model)!r}))
call = ToolCall(CallKey(0, 0), CallKind.FUNCTION, "1", "bash", "{{}}")
print(0 < asyncio.run(judge.score(call, Request("s", "m", False, {{}}, (), ()), 60)) < 1)
assert "numpy" not in sys.modules and "jinja2" not in sys.modules
{ending}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_the_revision_follows_the_file_and_the_prompt(random_model: Path, counting_model: Path) -> None:
    found = set()
    for path, name in (
        (random_model, FormatName.AUTO),
        (counting_model, FormatName.AUTO),
        (random_model, FormatName.QWEN3GUARD),
    ):
        judge = load_judge(path, format_name=name, threads=1)
        found.add(judge.revision)
        judge.close()
    again = load_judge(random_model, threads=1)
    again.close()
    assert len(found) == 3
    assert again.revision in found


@pytest.mark.parametrize(
    ("make", "name", "problem"),
    [
        (lambda write, p: write(p, chat_template=None), "auto", "says nothing of a format"),
        (lambda write, p: write(p, name="Guard X"), "auto", "says nothing of a format"),
        (lambda write, p: write(p, chat_template=None), "instruct", "no chat template"),
        (lambda write, p: write(p, chat_template="{{ messages }}"), "instruct", "no chat template"),
        (lambda write, p: write(p, marks=["<|im_start|>"]), "qwen3guard", "no token <|im_end|>"),
        (lambda write, p: write(p, name="ShieldGemma", marks=["<bos>"]), "shieldgemma", "no token <start_of_turn>"),
        (lambda write, p: write(p, causal=False), "auto", "no model that writes"),
        (lambda write, p: write(p, context=1024), "auto", "context of 1024 tokens is below the 2048"),
        (lambda write, p: p.write_bytes(b"PK\x03\x04 not a model"), "auto", "not a GGUF file"),
        (lambda write, p: p.write_bytes(b""), "auto", "not a GGUF file"),
        (lambda write, p: p.write_bytes(b"GGUF" + b"\xff" * 100), "auto", "second stage's model"),
        (lambda write, p: p.write_bytes(write(p).read_bytes()[:-500]), "auto", "second stage's model"),
        (lambda write, p: None, "auto", "cannot be read: No such file"),
    ],
    ids=[
        "silent", "unknown guard", "no template", "odd template", "other vocabulary", "not gemma", "encoder", "short",
        "zip", "empty", "junk", "cut", "gone",
    ],
)  # fmt: skip
def test_a_file_that_will_not_do_is_one_clear_fault(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    write: Writes,
    make: Callable[[Writes, Path], object],
    name: str,
    problem: str,
) -> None:
    path = tmp_path / "own.gguf"
    make(write, path)
    with pytest.raises(ConfigurationError, match=problem.replace("|", r"\|")) as caught:
        load_judge(path, format_name=FormatName(name))
    (fault,) = caught.value.faults
    assert str(path) in str(fault)
    assert "\n" not in str(fault)
    assert capfd.readouterr().err == ""


def test_the_classifiers_model_is_no_judge(capfd: pytest.CaptureFixture[str]) -> None:
    from guardproxy.classifier.model_file import SHIPPED

    with pytest.raises(ConfigurationError, match="no model that writes"):
        load_judge(SHIPPED)


def test_a_prompt_that_leaves_no_room_for_calls_is_refused(random_model: Path) -> None:
    with pytest.raises(ConfigurationError, match="needs a context of at least"):
        load_judge(random_model, format_name=FormatName.QWEN3GUARD, context_tokens=1024)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [((0.0, 0.0), 0.5), ((0.0, math.log(3)), 0.75), ((1000.0, -1000.0), 0.0), ((-1e30, 1e30), 1.0)],
)
def test_harm_is_the_softmax_over_the_verdicts(logits: Sequence[float], expected: float) -> None:
    assert harm(logits, ((1, 0.0), (2, 1.0))) == pytest.approx(expected)


def test_a_verdict_between_counts_in_part() -> None:
    assert harm((0.0, 0.0, 0.0), ((1, 0.0), (2, 0.5), (3, 1.0))) == pytest.approx(0.5)
    with pytest.raises(EncodeFailure, match="finite"):
        harm((0.0, math.nan), ((1, 0.0), (2, 1.0)))


def test_a_context_refuses_more_tokens_than_it_has_room_for(model: Model) -> None:
    context = Context(model, 256, 1)
    try:
        context.read([97] * 200)
        with pytest.raises(EncodeFailure, match="257 tokens"):
            context.read([97] * 57)
        context.read([97] * 56)
    finally:
        context.close()


def test_an_instruct_model_that_can_think_is_asked_to_answer_at_once(tmp_path: Path, write: Writes) -> None:
    template = "{{ '<|im_start|>' }}{% if enable_thinking is false %}<think></think>{% endif %}"
    judge = load_judge(write(tmp_path / "thinks.gguf", chat_template=template), threads=1)
    judge.close()
    assert judge._prompt.format.suffix.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_words_that_begin_alike_are_no_verdicts(tmp_path: Path, write: Writes) -> None:
    """With a vocabulary of bytes alone, ` Safe` and ` Unsafe` begin with the same token."""
    path = write(tmp_path / "tiny.gguf")
    model = Model(path)
    try:
        prompt: Prompt = prepare(model, FORMATS[FormatName.QWEN3GUARD], path)
        assert {each for _, each in prompt.words} == {0.0, 0.5, 1.0}
        alike = replace(FORMATS[FormatName.QWEN3GUARD], verdicts=(Verdict(0.0, ("safe",)), Verdict(1.0, ("sane",))))
        with pytest.raises(ConfigurationError, match="cannot tell the verdicts"):
            prepare(model, alike, path)
    finally:
        model.close()
