"""What every surface must do, as tests that a surface inherits.

    class TestResponses(SurfaceConformance):
        wire = ResponsesWire()

pytest runs each test for each call shape of the wire, streamed and whole. Nothing in here knows an API.
"""

import asyncio
import contextlib
import gzip
import itertools
import json
import random
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import zstandard

from guardproxy.decision import Mode
from guardproxy.errors import UpstreamError, UpstreamUnavailable
from guardproxy.model import CallKind
from guardproxy.stream.frame import DONE, Frame, frame_of_event
from guardproxy.stream.sse import SseParser
from guardproxy.surfaces.surface import OnBlock, RequestRules
from guardproxy.testing.mutations import mutate, neighbours, one_text_apart
from guardproxy.testing.proxy import Received, proxy
from guardproxy.testing.script import Call, Part, Reasoning, Shape, Text, Wire, encode_frames
from guardproxy.testing.trial import (
    VERDICTS,
    Judge,
    Trial,
    assert_nothing_leaks,
    assert_read_as_judged,
    assert_reads_nothing_unjudged,
    assert_well_formed,
    canonical,
    json_equal,
    leaves,
    marked,
    play_of,
    try_out,
    try_out_async,
)

_STREAMED = [pytest.param(True, id="streamed"), pytest.param(False, id="whole")]
_REFUSING = ("block", "silent", "fail", "timeout")
_QUICK = 0.05  # the deadline of a guard that does not answer


def _check(trial: Trial, calls: Sequence[Call]) -> None:
    assert_nothing_leaks(trial, calls)
    assert_read_as_judged(trial)


class SurfaceConformance:
    """Subclass it, and give it a `wire`."""

    wire: ClassVar[Wire]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "shape" in metafunc.fixturenames:
            metafunc.parametrize("shape", [pytest.param(s, id=n) for n, s in self.wire.shapes.items()])
        if "stream" in metafunc.fixturenames:
            metafunc.parametrize("stream", _STREAMED)

    # --- what is allowed is not touched --------------------------------------------------------------------------

    def test_an_allowed_turn_leaves_as_it_came(self, shape: Shape, stream: bool) -> None:
        calls = self.parallel(shape, ["allow", "allow"])
        parts: list[Part] = [Reasoning("I think so."), Text("Let me see. "), *calls]
        trial = try_out(self.wire, play_of(self.wire, parts, stream=stream), stream=stream, calls=calls)
        sent = self.wire.frames(parts) if stream else [Frame(self.wire.whole(parts))]
        assert json_equal(trial.frames, sent)
        _check(trial, calls)
        assert_well_formed(trial)
        assert len(trial.judged()) == len(calls)
        assert trial.under_test.exchange.outcome == "completed"

    def test_an_allowed_turn_leaves_as_it_came_however_it_is_written(self, shape: Shape) -> None:
        calls = self.parallel(shape, ["allow", "allow"])
        parts: list[Part] = [Text("Let me see. "), *calls]
        marked_end = DONE in self.wire.frames(parts)  # else one is dropped that some server sends all the same
        for name, frames in self.wire.variants(parts).items():
            trial = try_out(self.wire, [encode_frames(frames)], calls=calls)
            assert json_equal(trial.frames, [f for f in frames if marked_end or f != DONE]), name
            _check(trial, calls)
            assert len(trial.judged()) == len(calls), name

    def test_a_refused_call_stays_refused_however_it_is_written(self, shape: Shape) -> None:
        for verdicts in (["block", "allow"], ["allow", "block"], ["rewrite", "block"], ["silent", "rewrite"]):
            calls = self.parallel(shape, verdicts)
            for name, frames in self.wire.variants([Text("Let me see. "), *calls]).items():
                trial = try_out(self.wire, [encode_frames(frames)], calls=calls)
                try:
                    _check(trial, calls)
                    assert trial.complete
                    if not self.wire.faults(frames, stream=True):  # some ways of writing have their own
                        assert_well_formed(trial)
                except AssertionError as error:
                    error.add_note(f"{name}: {verdicts}")
                    raise

    def test_text_leaves_before_the_turn_is_complete(self) -> None:
        frames = self.wire.frames([Text("one two three "), Text("four")])
        seen: list[bytes] = []

        def look(received: Received) -> None:
            seen.append(received.seen)

        trial = try_out(self.wire, [encode_frames([frame]) for frame in frames], on_part=look)
        assert json_equal(trial.frames, frames)
        assert any(b"one" in each and b"four" not in each for each in seen)
        assert trial.judge.seen == []

    # --- bytes ---------------------------------------------------------------------------------------------------

    def test_a_stream_is_read_alike_wherever_it_is_cut(self, shape: Shape) -> None:
        frames = self.wire.frames([Text("wörld\u2028 "), *self.parallel(shape, ["block", "allow"])])
        data = encode_frames(frames)
        for place in range(len(data) + 1):
            parser = SseParser(1 << 20)
            events = [*parser.feed(data[:place]), *parser.feed(data[place:])]
            assert [frame_of_event(event) for event in events] == frames

    def test_every_cut_of_a_refused_stream_gives_the_same_answer(self) -> None:
        calls = self.parallel(self.first_shape, ["block"])
        data = encode_frames(self.wire.frames(calls))

        async def answers() -> set[bytes]:
            found = set()
            for place in range(1, len(data)):
                trial = await try_out_async(self.wire, [data[:place], data[place:]], calls=calls)
                assert_nothing_leaks(trial, calls)
                found.add(trial.received.seen)
            return found

        assert len(asyncio.run(answers())) == 1

    @pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
    def test_a_stream_may_come_byte_by_byte(self, shape: Shape, line_end: bytes) -> None:
        calls = self.parallel(shape, ["allow", "block"])
        data = encode_frames(self.wire.frames([Text("hello "), *calls])).replace(b"\n", line_end)
        trial = try_out(self.wire, [bytes([byte]) for byte in data], calls=calls)
        _check(trial, calls)
        assert_well_formed(trial)

    def test_a_compressed_request_is_guarded_as_a_plain_one(self, shape: Shape, stream: bool) -> None:
        calls = self.parallel(shape, ["block"])
        body = json.dumps(self.wire.request(stream=stream, calls=calls)).encode()
        plain = try_out(self.wire, play_of(self.wire, calls, stream=stream), stream=stream, calls=calls)
        for coding, data in (("gzip", gzip.compress(body)), ("zstd", zstandard.compress(body))):
            judge = Judge(self.wire.shapes)
            under_test = proxy(play_of(self.wire, calls, stream=stream), guards=[judge], **self.wire.settings)
            headers = {"content-type": "application/json", "content-encoding": coding}
            received = asyncio.run(under_test.send("POST", self.wire.surface.path, data, headers))
            assert received.seen == plain.received.seen, coding
            assert_nothing_leaks(Trial(self.wire, stream, received, judge, under_test), calls)

    # --- many calls ----------------------------------------------------------------------------------------------

    def test_interleaved_parallel_calls_are_kept_apart(self, shape: Shape) -> None:
        if not self.wire.interleaves or shape.alone:
            pytest.skip("this API does not interleave them")
        calls = [marked(shape, verdict, place, pieces=3) for place, verdict in enumerate(["allow", "block", "rewrite"])]
        for order in itertools.islice(itertools.permutations([0, 0, 0, 1, 1, 1, 2, 2, 2]), 0, None, 9001):
            trial = try_out(self.wire, [encode_frames(self.wire.frames(calls, order))], calls=calls)
            _check(trial, calls)
            assert_well_formed(trial)

    @pytest.mark.parametrize("noise", [False, True], ids=["plain", "noisy"])
    def test_calls_may_be_refused_in_every_position(self, shape: Shape, stream: bool, noise: bool) -> None:
        for verdicts in itertools.product(["allow", "block"], repeat=1 if shape.alone else 3):
            calls = self.parallel(shape, verdicts, noise=noise)
            trial = try_out(
                self.wire, play_of(self.wire, [Text("So: "), *calls], stream=stream), stream=stream, calls=calls
            )
            _check(trial, calls)
            assert_well_formed(trial)
            assert len(trial.judged()) == verdicts.count("allow")
            self.check_refusal(trial, verdicts)

    def test_each_choice_is_judged_for_itself(self, shape: Shape, stream: bool) -> None:
        most = self.wire.most_choices
        for verdicts in itertools.product(["allow", "block", "rewrite"], repeat=most):
            calls = [marked(shape, verdict, i, choice=i) for i, verdict in enumerate(verdicts)]
            order = [*range(most)] * 2 if self.wire.interleaves else None
            play = (
                [encode_frames(self.wire.frames(calls, order))] if stream else play_of(self.wire, calls, stream=False)
            )
            trial = try_out(self.wire, play, stream=stream, n=most, calls=calls)
            _check(trial, calls)
            assert_well_formed(trial)

    def test_shapes_may_be_mixed(self, stream: bool) -> None:
        shapes = [shape for shape in self.wire.shapes.values() if not shape.alone]
        for refused in range(len(shapes)):
            calls = [marked(shape, "block" if i == refused else "allow", i) for i, shape in enumerate(shapes)]
            trial = try_out(self.wire, play_of(self.wire, calls, stream=stream), stream=stream, calls=calls)
            _check(trial, calls)
            assert_well_formed(trial)

    # --- verdicts ------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("on_block", OnBlock)
    @pytest.mark.parametrize("verdict", VERDICTS)
    def test_every_verdict_in_every_style(self, shape: Shape, stream: bool, verdict: str, on_block: OnBlock) -> None:
        calls = self.parallel(shape, [verdict, "allow"], noise=True)
        scripts: list[list[Part]] = [[*calls], [Reasoning("Well, "), Text("So: "), *calls]]
        for parts in scripts:
            trial = try_out(
                self.wire,
                play_of(self.wire, parts, stream=stream),
                stream=stream,
                calls=calls,
                judge=Judge(deadline_s=_QUICK if verdict == "timeout" else 1.0),
                on_block=on_block,
                reask_max=0,
            )
            _check(trial, calls)
            refused = not all(leaves(self.wire, call, calls) for call in calls)
            assert trial.complete is not (refused and on_block is OnBlock.ERROR)
            assert trial.under_test.exchange.outcome == ("blocked" if refused else "completed")
            if trial.complete:
                assert_well_formed(trial)

    def test_a_rewritten_call_is_read_as_rewritten(self, shape: Shape, stream: bool) -> None:
        if shape.rewritten is None:
            pytest.skip("its arguments cannot be rewritten")
        calls = self.parallel(shape, ["rewrite", "allow"])
        trial = try_out(self.wire, play_of(self.wire, calls, stream=stream), stream=stream, calls=calls)
        _check(trial, calls)
        assert_well_formed(trial)
        for name, read in trial.readings():
            assert [call.arguments for call in read][:1] == [canonical(shape.kind, shape.rewritten)], name

    def test_a_reasked_turn_is_never_seen(self, shape: Shape, stream: bool) -> None:
        discarded = self.parallel(shape, ["reask", "allow"])
        again = [marked(shape, "allow", 7)]
        trial = try_out(
            self.wire,
            play_of(self.wire, [Text("First. "), *discarded], stream=stream),
            play_of(self.wire, [Text("Then. "), *again], stream=stream),
            stream=stream,
            calls=[*discarded, *again],
        )
        reasked = len(trial.under_test.upstream.asked) == 2
        assert reasked is self.can_reask(shape, stream)
        assert_read_as_judged(trial)
        assert_well_formed(trial)
        marks = [call.id.removeprefix("id_").encode() for call in (discarded if reasked else discarded[:1])]
        for mark in marks:
            assert mark not in trial.received.seen.replace(b"call to `" + mark + b"`", b"")
        if reasked:
            self.check_feedback(trial, discarded)

    def test_what_a_reasked_turn_left_open_is_ended(self, shape: Shape) -> None:
        """Text of it has left, in every way in which it can be written, and its end was still to come."""
        discarded, again = self.parallel(shape, ["reask", "allow"]), [marked(shape, "allow", 7)]
        first: list[Part] = [Reasoning("Hm. "), Text("First of all. "), *discarded]
        then: list[Part] = [Text("Then. "), *again]
        ways, afterwards = dict(self.wire.variants(first)), self.wire.variants(then)
        if self.wire.interleaves:
            ways["calls within the text"] = self.wire.frames(first, [0, 1, 1, 2, 2, 1])
        for name, frames in ways.items():
            second = afterwards.get(name, self.wire.frames(then))
            trial = try_out(self.wire, [encode_frames(frames)], [encode_frames(second)], calls=[*discarded, *again])
            try:
                assert_read_as_judged(trial)
                assert trial.complete
                if not self.wire.faults(frames, stream=True):  # some ways of writing have their own
                    assert_well_formed(trial)
            except AssertionError as error:
                error.add_note(name)
                raise

    def test_monitoring_changes_nothing(self, shape: Shape, stream: bool) -> None:
        calls = self.parallel(shape, ["block", "rewrite"])
        judge = Judge(mode=Mode.MONITOR)
        trial = try_out(self.wire, play_of(self.wire, calls, stream=stream), stream=stream, calls=calls, judge=judge)
        sent = self.wire.frames(calls) if stream else [Frame(self.wire.whole(calls))]
        assert json_equal(trial.frames, sent)
        assert trial.under_test.exchange.decision is not None
        assert trial.under_test.exchange.decision.verdict.label == "block"

    @pytest.mark.parametrize("verdict", ["allow", "block"])
    def test_a_held_turn_leaves_after_its_verdict(self, shape: Shape, verdict: str) -> None:
        calls = self.parallel(shape, [verdict])
        frames = self.wire.frames([Text("Before. "), *calls])
        trial = try_out(self.wire, [encode_frames([frame]) for frame in frames], calls=calls, hold_turn=True)
        assert all(b"Before" not in before for before in trial.judge.before)
        _check(trial, calls)
        assert_well_formed(trial)

    # --- ends ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("end", ["error", "silence"])
    def test_an_upstream_may_die_at_every_event(self, shape: Shape, end: str) -> None:
        calls = self.parallel(shape, ["allow", "allow"])
        frames = self.wire.frames([Text("Before. "), *calls])
        for place in range(len(frames)):
            play: list[bytes | UpstreamError | float] = [encode_frames(frames[:place])]
            if end == "error":
                play.append(UpstreamUnavailable("gone"))
            trial = try_out(self.wire, play, calls=calls)
            _check(trial, calls)
            if not trial.complete:
                assert trial.under_test.exchange.outcome == "upstream_error"
                assert not any(call.id.encode() in trial.received.seen for call in calls)

    def test_an_upstream_may_die_within_every_event(self) -> None:
        calls = self.parallel(self.first_shape, ["allow"])
        pieces = [encode_frames([frame]) for frame in self.wire.frames(calls)]
        for place, piece in enumerate(pieces):
            trial = try_out(self.wire, [*pieces[:place], piece[: len(piece) // 2]], calls=calls)
            assert not trial.complete
            assert_nothing_leaks(trial, calls)

    def test_a_client_may_go_at_any_time(self, shape: Shape) -> None:
        calls = self.parallel(shape, ["allow", "block"])
        frames = self.wire.frames([Text("one two three "), *calls])
        for leaves_after in range(len(frames)):
            trial = self.gone_after(leaves_after, [encode_frames([frame]) for frame in frames], calls)
            assert trial.under_test.exchange.outcome in {"completed", "blocked", "cancelled"}
            refused = calls[-1].id.removeprefix("id_").encode()
            if calls[-1] is not calls[0]:
                assert refused not in trial.received.seen.replace(b"call to `" + refused + b"`", b"")

    # --- servers that are not honest -----------------------------------------------------------------------------

    def test_no_client_reads_an_unjudged_call_whatever_is_wrong_in_the_stream(self, shape: Shape) -> None:
        calls = self.parallel(shape, ["allow", "allow"])
        honest = self.wire.frames([Text("So: "), *calls])
        source = random.Random(1)
        streams = [*neighbours(honest), *((f"seed 1, {i}", mutate(honest, source)) for i in range(100))]

        async def all_of_them() -> None:
            for fault, frames in streams:
                trial = await try_out_async(self.wire, [encode_frames(frames)], calls=calls)
                try:
                    if not trial.permitted:
                        assert_nothing_leaks(trial, calls, self.strayed(shape, frames, honest, calls))
                    assert_reads_nothing_unjudged(trial)
                except AssertionError as error:
                    error.add_note(fault)
                    raise

        asyncio.run(all_of_them())

    # --- what they share -----------------------------------------------------------------------------------------

    @property
    def first_shape(self) -> Shape:
        return next(iter(self.wire.shapes.values()))

    def parallel(self, shape: Shape, verdicts: Sequence[str], *, noise: bool = False) -> list[Call]:
        """Calls of one shape in one choice; only the first where the API knows no more of them."""
        wanted = verdicts[:1] if shape.alone else verdicts
        return [marked(shape, verdict, place, noise=noise) for place, verdict in enumerate(wanted)]

    def strayed(
        self, shape: Shape, frames: Sequence[Frame], honest: Sequence[Frame], calls: Sequence[Call]
    ) -> Sequence[Frame]:
        """Frames that are honest ones of no call, but for one string, such as a text in which a mark was put."""
        if shape.kind is CallKind.TEXT:
            return ()  # there a text may be a call
        marks = [call.id.removeprefix("id_").encode() for call in calls]
        others = [frame for frame in honest if not any(mark in encode_frames([frame]) for mark in marks)]
        changed = (frame for frame in frames if frame not in honest)
        return [frame for frame in changed if any(one_text_apart(frame, other) for other in others)]

    def can_reask(self, shape: Shape, stream: bool) -> bool:
        """An unknown shape cannot be written into a history. Where text is all there is, what left cannot be mended."""
        return shape.kind is not CallKind.OPAQUE and not (stream and shape.kind is CallKind.TEXT)

    def check_refusal(self, trial: Trial, verdicts: Sequence[str]) -> None:
        refused = verdicts.count("block")
        assert trial.texts[0].count("fake_code") >= min(refused, 1)
        assert ("guardproxy" in trial.texts[0]) is bool(refused)
        if 0 in trial.stops:
            assert trial.stops[0] == ("calls" if refused < len(verdicts) else "end")

    def check_feedback(self, trial: Trial, discarded: Sequence[Call]) -> None:
        """The second request says what became of every call of the first answer: as its result where the API has
        results, in words where the calls are words too."""
        first, second = (dict(asked.tree or {}) for asked in trial.under_test.upstream.asked)
        again = self.wire.surface.parse(second, RequestRules())
        if self.wire.shapes[discarded[0].shape].kind is CallKind.TEXT:
            assert json.dumps(second).count("Not executed") > json.dumps(first).count("Not executed")
        else:
            assert len(again.results) == len(discarded)

    def gone_after(self, parts: int, play: list[bytes], calls: Sequence[Call]) -> Trial:
        judge = Judge(self.wire.shapes)
        steps: list[Any] = list(itertools.chain.from_iterable((piece, 0.001) for piece in play))
        under_test = proxy(steps, guards=[judge], **self.wire.settings)
        received = Received()

        async def scenario() -> None:
            gone, count = asyncio.Event(), itertools.count()

            def on_part(now: Received) -> None:
                nonlocal received
                received = now
                if next(count) >= parts:
                    gone.set()

            if parts == 0:
                gone.set()
            with contextlib.suppress(asyncio.CancelledError):
                tree = self.wire.request(stream=True, calls=calls)
                await under_test.post(tree, path=self.wire.surface.path, gone=gone, on_part=on_part)

        asyncio.run(scenario())
        assert under_test.upstream.closed == len(under_test.upstream.asked)
        return Trial(self.wire, True, received, judge, under_test)
