"""The closed contract of POST /v1/chat/completions: what becomes of every field, tool and part that its API knows.

Of request fields that are not listed scalars pass: they cannot declare a tool. An object or a list that is not listed
is refused unless the configuration names it, since it may switch on tools that the provider runs itself. A call of a
type that is not listed is opaque. Of answer fields that are not listed those pass that hold no call, however deep.
"""

from guardproxy.surfaces.contract import Contract, Treatment, treated

GUARDED, PASSED, COUNTED, REFUSED = Treatment.GUARDED, Treatment.PASSED, Treatment.COUNTED, Treatment.REFUSED

SAMPLER_FIELDS = frozenset(
    """allowed_token_ids bad_words chat_template_kwargs dry_sequence_breakers guided_choice guided_json
    reasoning samplers stop_token_ids structured_outputs thinking""".split()
)
"""Objects and lists that vLLM, SGLang, llama.cpp and hosted reasoning models read, and that declare no tool."""

REASONING_FIELDS = frozenset({"reasoning", "reasoning_content"})
"""Where servers other than the API's author put a message's reasoning."""

_REQUEST_FIELDS = {
    **treated(GUARDED, "functions messages tools"),
    **treated(
        PASSED,
        """audio frequency_penalty function_call logit_bias logprobs max_completion_tokens max_tokens metadata
        modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key
        prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed
        service_tier stop store stream stream_options temperature tool_choice top_logprobs top_p user verbosity""",
    ),
    **treated(REFUSED, "web_search_options"),  # it makes the provider run a tool itself
}

CONTRACT: Contract = {
    "request fields": _REQUEST_FIELDS,
    "tools": treated(GUARDED, "function custom"),
    "message roles": treated(GUARDED, "assistant function tool") | treated(PASSED, "developer system user"),
    "content parts": treated(PASSED, "text refusal") | treated(COUNTED, "file image_url input_audio"),
    "calls": treated(GUARDED, "function custom"),
    "answer fields": treated(GUARDED, "choices")
    | treated(
        PASSED,
        "created error id metadata model moderation obfuscation object service_tier system_fingerprint usage",
    ),
    "choice fields": treated(GUARDED, "delta finish_reason message") | treated(PASSED, "index logprobs"),
    "message fields": treated(GUARDED, "content function_call tool_calls")
    | treated(PASSED, "annotations audio refusal role"),
    "call fields": treated(GUARDED, "arguments custom function id index input name type"),
}
