"""The closed contract of POST /v1/completions: what becomes of every field that the API knows.

The API has no tools: a call can only stand in the text. Of request fields that are not listed scalars pass; an object
or a list that is not listed is refused unless the configuration names it, tools included. Of answer fields that are
not listed those pass that hold no call of another API, however deep.
"""

from guardproxy.surfaces.contract import Contract, Treatment, treated

GUARDED, PASSED, COUNTED = Treatment.GUARDED, Treatment.PASSED, Treatment.COUNTED

SAMPLER_FIELDS = frozenset(
    """allowed_token_ids bad_words dry_sequence_breakers guided_choice guided_json response_format samplers
    stop_token_ids structured_outputs""".split()
)
"""Objects and lists that vLLM, SGLang and llama.cpp read, and that declare no tool."""

HIDDEN_FIELDS = frozenset({"prompt_embeds"})
"""What vLLM takes for a prompt, or a part of it, that nobody can read."""

CONTRACT: Contract = {
    "request fields": {
        **treated(GUARDED, "prompt"),
        **treated(
            PASSED,
            """best_of echo frequency_penalty logit_bias logprobs max_tokens model n presence_penalty seed stop stream
            stream_options suffix temperature top_p user""",
        ),
    },
    "prompt parts": treated(GUARDED, "text") | treated(COUNTED, "tokens"),
    "answer fields": treated(GUARDED, "choices")
    | treated(PASSED, "created error id model object system_fingerprint usage"),
    "choice fields": treated(GUARDED, "finish_reason text") | treated(PASSED, "index logprobs"),
}
