import pytest

from guardproxy.errors import UpstreamRefusal
from guardproxy.model import CallKey, CallKind, Message, Position, Request, ToolCall
from guardproxy.prefix.arms import Arm
from guardproxy.prefix.artifact import digest_of, parse_artifact
from guardproxy.prefix.capability import Capability
from guardproxy.prefix.injector import Inject, Prefixer, Reason, Skip, Turns
from guardproxy.prefix.verification import Outcome, Verification
from guardproxy.strict_json import encode

TEXT = "I will do what is harmless."
MODEL = "llama-3"
PREFILL_REFUSED = UpstreamRefusal(400, "This model does not support assistant message prefill.")


def artifact(name="a", **changes):
    content = {
        "version": 1,
        "id": name,
        "text": TEXT,
        "learned": {"method": "ping", "date": None, "source": "s"},
        "models": ["*"],
        "position": "prefill",
        "scores": None,
        **changes,
    }
    return parse_artifact(encode({**content, "digest": digest_of(content)}), "a.yaml")  # JSON is YAML


def request(*messages, model=MODEL, **fields):
    views = messages or (Message("user", "Hi"),)
    tree = fields.pop("tree", {})
    return Request("chat_completions", model, False, tree, tuple(views), (), **fields)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def prefixer(clock):
    upstreams = {"main": Capability("auto", "vllm"), "off": Capability("off", "vllm")}
    return Prefixer([artifact()], upstreams=upstreams, clock=clock)


def position_of(plan):
    assert isinstance(plan, Inject)
    return plan.injection.position


def test_the_text_goes_in_at_the_servers_best_position(prefixer):
    plan = prefixer.plan(request(), "main")
    assert (plan.injection.text, plan.artifact_id, plan.fell_back) == (TEXT, "a", False)
    assert position_of(plan) is Position.CONTINUE_FINAL_MESSAGE


def test_an_unknown_upstream_gets_an_instruction(prefixer):
    plan = prefixer.plan(request(), "stranger")
    assert position_of(plan) is Position.INSTRUCTION
    assert TEXT in plan.injection.text
    assert plan.injection.text != TEXT
    assert prefixer.outcome(plan, "stranger", MODEL, None) is Outcome.INSTRUCTION
    assert prefixer.echo_filter(plan) is None


CALL = ToolCall(CallKey(0, 0), CallKind.FUNCTION, "1", "bash", "{}")


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (Message("assistant", "I begin"), Reason.ASSISTANT_LAST),
        (Message("assistant", "", calls=(CALL,)), Reason.CALL_IN_PROGRESS),
    ],
)
def test_an_assistant_turn_at_the_end_is_left_alone(prefixer, last, reason):
    plan = prefixer.plan(request(Message("user", "Hi"), last), "main")
    assert plan == Skip(reason)
    assert prefixer.outcome(plan, "main", MODEL, None) is Outcome.SKIPPED


@pytest.mark.parametrize("role", ["user", "tool", "system", "function", "developer"])
def test_after_any_other_message_it_goes_in(prefixer, role):
    assert position_of(prefixer.plan(request(Message(role, "x")), "main")) is Position.CONTINUE_FINAL_MESSAGE


@pytest.mark.parametrize(
    "fields",
    [
        {"forced_tool": True},
        {"structured_output": True},
        {"tree": {"reasoning_effort": "low"}},
        {"tree": {"thinking": {"type": "enabled", "budget_tokens": 1024}}},
        {"tree": {"reasoning": {"effort": "high"}}},
        {"tree": {"chat_template_kwargs": {"enable_thinking": True}}},
    ],
)
def test_where_a_sentence_cannot_come_first_it_is_an_instruction(prefixer, fields):
    plan = prefixer.plan(request(**fields), "main")
    assert position_of(plan) is Position.INSTRUCTION
    assert prefixer.outcome(plan, "main", MODEL, None) is Outcome.INSTRUCTION


@pytest.mark.parametrize(
    "tree",
    [
        {"reasoning_effort": "none"},
        {"reasoning_effort": None},
        {"thinking": {"type": "disabled"}},
        {"reasoning": {"enabled": False}},
        {"reasoning": {"effort": "none"}},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": "odd"},
    ],
)
def test_thinking_switched_off_does_not_stand_in_the_way(prefixer, tree):
    assert position_of(prefixer.plan(request(tree=tree), "main")) is Position.CONTINUE_FINAL_MESSAGE


@pytest.mark.parametrize("why", ["tokens", "suffix", "echo"])
def test_what_an_api_rules_out_is_skipped_by_that_name(prefixer, why):
    plan = prefixer.plan(request(unprefixed=why), "main")
    assert plan == Skip(Reason(why))
    assert plan.label == f"skipped_{why}"
    assert prefixer.plan(request(unprefixed=why), "off").label == "off"


PREFILL_ONLY = {Position.CONTINUE_FINAL_MESSAGE, Position.PREFIX_FLAG}


@pytest.mark.parametrize("fields", [{"forced_tool": True}, {"tree": {"reasoning_effort": "low"}}])
def test_no_position_is_used_that_is_not_possible(prefixer, fields):
    """Where instructions cannot be carried, what would have to be one is skipped."""
    plan = prefixer.plan(request(**fields), "main", PREFILL_ONLY)
    assert plan == Skip(Reason.NO_POSITION)
    instruction = Prefixer([artifact(position="instruction")], upstreams={"main": Capability("auto", "vllm")})
    assert instruction.plan(request(), "main", PREFILL_ONLY) == Skip(Reason.NO_POSITION)
    assert position_of(prefixer.plan(request(), "main", PREFILL_ONLY)) is Position.CONTINUE_FINAL_MESSAGE


def test_a_position_that_was_refused_is_not_tried_again_without_another(prefixer):
    assert prefixer.refused("main", MODEL, Position.CONTINUE_FINAL_MESSAGE, PREFILL_REFUSED)
    assert prefixer.plan(request(), "main", PREFILL_ONLY) == Skip(Reason.REFUSED)


def test_off_and_no_artifact(prefixer):
    assert prefixer.plan(request(), "off") == Skip(Reason.OFF)
    assert Prefixer([]).plan(request(), "main") == Skip(Reason.OFF)
    choosy = Prefixer([artifact(models=["qwen*"])])
    assert choosy.plan(request(), "main") == Skip(Reason.NO_ARTIFACT)
    assert choosy.plan(request(), "main").outcome is Outcome.SKIPPED
    assert Skip(Reason.OFF).outcome is Outcome.OFF


def test_the_first_artifact_that_fits_is_used():
    prefixer = Prefixer([artifact("q", models=["qwen*"]), artifact("all"), artifact("late")])
    assert prefixer.plan(request(model="qwen2"), "x").artifact_id == "q"
    assert prefixer.plan(request(), "x").artifact_id == "all"


def test_an_artifact_for_instructions_is_never_prefilled():
    prefixer = Prefixer([artifact(position="instruction")], upstreams={"main": Capability("auto", "vllm")})
    assert position_of(prefixer.plan(request(), "main")) is Position.INSTRUCTION


REFUSALS = [
    "This model does not support assistant message prefill. The conversation must end with a user message.",
    "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant",
    "Cannot set both `add_generation_prompt` and `continue_final_message`",
    "Extra inputs are not permitted: continue_final_message",
    "Assistant response prefill is incompatible with enable_thinking.",
    "Please ensure that the multiturn request ends with a user role or a function response.",
    "Conversation roles must alternate user/assistant/user/assistant/...",
]


@pytest.mark.parametrize("message", REFUSALS)
def test_a_refusal_that_names_the_prefix_is_remembered_for_that_model(prefixer, clock, message):
    first = position_of(prefixer.plan(request(), "main"))
    assert prefixer.refused("main", MODEL, first, UpstreamRefusal(400, message))
    plan = prefixer.plan(request(), "main")
    assert (position_of(plan), plan.fell_back) == (Position.INSTRUCTION, True)
    assert prefixer.outcome(plan, "main", MODEL, None) is Outcome.FALLBACK
    assert position_of(prefixer.plan(request(model="other"), "main")) is first
    clock.now += 3601
    assert position_of(prefixer.plan(request(), "main")) is first


@pytest.mark.parametrize(
    "refusal",
    [
        UpstreamRefusal(400, "max_tokens is too large"),
        UpstreamRefusal(429, "prefill quota reached"),
        UpstreamRefusal(401, "assistant message prefill: no key"),
        UpstreamRefusal(400, "context length exceeded"),
    ],
)
def test_any_other_refusal_is_not_about_the_prefix(prefixer, refusal):
    assert not prefixer.refused("main", MODEL, Position.CONTINUE_FINAL_MESSAGE, refusal)
    assert position_of(prefixer.plan(request(), "main")) is Position.CONTINUE_FINAL_MESSAGE


def test_the_param_counts_too_and_an_instruction_is_the_last_resort(prefixer):
    by_param = UpstreamRefusal(422, "Unexpected value", param="messages.3.prefix")
    assert prefixer.refused("main", MODEL, Position.PREFIX_FLAG, by_param)
    assert not prefixer.refused("main", MODEL, Position.INSTRUCTION, PREFILL_REFUSED)


def test_what_is_remembered_is_bounded(prefixer):
    for number in range(3000):
        prefixer.refused("main", f"m{number}", Position.CONTINUE_FINAL_MESSAGE, PREFILL_REFUSED)
    assert position_of(prefixer.plan(request(model="m0"), "main")) is Position.CONTINUE_FINAL_MESSAGE
    assert position_of(prefixer.plan(request(model="m2999"), "main")) is Position.INSTRUCTION


def test_an_echo_is_the_evidence_of_its_own_answer(prefixer):
    plan = prefixer.plan(request(), "main")
    assert prefixer.outcome(plan, "main", MODEL, True) is Outcome.APPLIED_ECHO
    assert prefixer.outcome(plan, "main", MODEL, False) is Outcome.UNVERIFIED
    assert prefixer.outcome(plan, "main", MODEL, None) is Outcome.UNVERIFIED
    echo = prefixer.echo_filter(plan)
    assert echo.receive(0, TEXT + " Yes") == "Yes"
    assert Prefixer([artifact()], keep=True).keep


AT = ("main", MODEL, Position.CONTINUE_FINAL_MESSAGE)


def test_a_probe_is_due_once_and_its_result_holds_for_a_while(prefixer, clock):
    plan = prefixer.plan(request(), "main")
    assert prefixer.probe_due(*AT)
    assert not prefixer.probe_due(*AT)
    assert prefixer.outcome(plan, "main", MODEL, False) is Outcome.UNVERIFIED
    prefixer.learn(*AT, Verification(rendered=True, continued=True))
    assert prefixer.outcome(plan, "main", MODEL, False) is Outcome.APPLIED_PROBE
    clock.now += 3601
    assert prefixer.outcome(plan, "main", MODEL, False) is Outcome.UNVERIFIED
    assert prefixer.probe_due(*AT)


def test_tokens_alone_are_counted_as_tokens(prefixer):
    plan = prefixer.plan(request(), "main")
    prefixer.learn(*AT, Verification(rendered=True, token_rise=30))
    assert prefixer.outcome(plan, "main", MODEL, None) is Outcome.APPLIED_TOKENS


@pytest.mark.parametrize(
    "shown",
    [
        Verification(rendered=False),
        Verification(rendered=True, continued=False),
        Verification(refusal=PREFILL_REFUSED),
    ],
)
def test_a_position_that_is_shown_not_to_work_is_left(prefixer, shown):
    prefixer.learn(*AT, shown)
    plan = prefixer.plan(request(), "main")
    assert (position_of(plan), plan.fell_back) == (Position.INSTRUCTION, True)


def test_a_probe_that_shows_nothing_changes_nothing(prefixer):
    prefixer.learn(*AT, Verification())
    plan = prefixer.plan(request(), "main")
    assert position_of(plan) is Position.CONTINUE_FINAL_MESSAGE
    assert prefixer.outcome(plan, "main", MODEL, None) is Outcome.UNVERIFIED


def test_instructions_are_not_probed_and_invented_models_cost_few_probes(prefixer):
    assert not prefixer.probe_due("main", MODEL, Position.INSTRUCTION)
    due = [prefixer.probe_due("main", f"m{n}", Position.CONTINUE_FINAL_MESSAGE) for n in range(1000)]
    assert sum(due) == 256


# --- where it goes, when, and whether ---------------------------------------------------------------------------------


def test_a_prefix_that_was_learned_as_a_suffix_is_one():
    prefixer = Prefixer([artifact(position="suffix")], upstreams={"main": Capability("auto", "vllm")})
    plan = prefixer.plan(request(), "main")
    assert (position_of(plan), plan.injection.text) == (Position.SUFFIX, TEXT)
    assert prefixer.outcome(plan, "main", MODEL, None) is Outcome.SUFFIX
    assert prefixer.echo_filter(plan) is None
    assert not prefixer.probe_due("main", MODEL, Position.SUFFIX)
    assert not prefixer.refused("main", MODEL, Position.SUFFIX, PREFILL_REFUSED)


def test_a_suffix_is_an_instruction_where_the_api_has_no_place_for_it():
    prefixer = Prefixer([artifact(position="suffix")])
    plan = prefixer.plan(request(), "main", {Position.TRAILING_ASSISTANT, Position.INSTRUCTION})
    assert position_of(plan) is Position.INSTRUCTION


@pytest.mark.parametrize("fields", [{"forced_tool": True}, {"tree": {"reasoning_effort": "low"}}])
def test_a_suffix_stands_in_no_ones_way(fields):
    assert position_of(Prefixer([artifact(position="suffix")]).plan(request(**fields), "main")) is Position.SUFFIX


TALK = (Message("user", "Hi"), Message("assistant", "", calls=(CALL,)), Message("tool", "42"))


@pytest.mark.parametrize(("messages", "goes_in"), [(TALK[:1], True), (TALK, False)])
def test_it_may_be_for_the_first_turn_alone(messages, goes_in):
    first = Prefixer([artifact()], turns=Turns.FIRST).plan(request(*messages), "main")
    assert isinstance(first, Inject) is goes_in
    assert goes_in or first.label == "skipped_later_turn"
    assert isinstance(Prefixer([artifact()]).plan(request(*messages), "main"), Inject)


GATE = {"threshold": 0.4}


@pytest.mark.parametrize(
    ("gate", "settings", "risk", "goes_in"),
    [
        (GATE, {}, 0.39, False),
        (GATE, {}, 0.4, True),
        (GATE, {}, None, True),  # not known is not harmless
        (GATE, {"threshold": 0.9}, 0.5, False),  # the operator's word counts
        (GATE, {"threshold": 0.1}, 0.2, True),
        (GATE, {"gated": False}, 0.0, True),
        (GATE, {"gated": False, "threshold": 0.9}, 0.0, True),
        (None, {}, 0.0, True),
        (None, {"threshold": 0.3}, 0.2, False),
    ],
)
def test_a_gate_keeps_it_from_harmless_requests(gate, settings, risk, goes_in):
    plan = Prefixer([artifact(gate=gate)], **settings).plan(request(), "main", risk=risk)
    assert isinstance(plan, Inject) is goes_in
    assert goes_in or plan == Skip(Reason.GATED)


def test_an_arm_has_prefixes_of_its_own():
    arms = [Arm("a", (artifact("one", models=["qwen*"]), artifact("two"))), Arm("b", ())]
    prefixer = Prefixer(arms=arms)
    assert prefixer.plan(request(model="qwen-2"), "main", arm=arms[0]).artifact_id == "one"
    assert prefixer.plan(request(), "main", arm=arms[0]).artifact_id == "two"
    assert prefixer.plan(request(), "main", arm=arms[1]) == Skip(Reason.OFF)


def test_a_model_concerns_it_where_any_arm_has_a_prefix_for_it():
    prefixer = Prefixer(arms=[Arm("none", ()), Arm("a", (artifact(models=["qwen*"]),))])
    assert prefixer.concerns("qwen-2")
    assert not prefixer.concerns("llama")
