"""The closed contract of POST /v1/chat/completions: which request fields may pass.

Scalars that are not listed pass too: they cannot declare a tool. An object or a list that is not listed is refused
unless the configuration names it, since it may switch on tools that the provider runs itself.
"""

SDK_FIELDS = frozenset(
    """audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages
    metadata modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key
    prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier
    stop store stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity""".split()
)
"""Of `openai.types.chat.completion_create_params`, all but PROVIDER_TOOL_FIELDS."""

SAMPLER_FIELDS = frozenset(
    """allowed_token_ids bad_words chat_template_kwargs dry_sequence_breakers guided_choice guided_json
    reasoning samplers stop_token_ids structured_outputs thinking""".split()
)
"""Objects and lists that vLLM, SGLang, llama.cpp and hosted reasoning models read, and that declare no tool."""

PROVIDER_TOOL_FIELDS = frozenset({"web_search_options"})
"""Fields of the SDK that make the provider run a tool itself."""

TOOL_TYPES = frozenset({"function", "custom"})
