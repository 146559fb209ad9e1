"""The closed contract of POST /v1/responses: what becomes of every field, tool, item, part and event of the API.

Of request fields that are not listed scalars pass, since they cannot declare a tool, and objects and lists are refused.
An output item, part or event that is not listed is held, and judged as a call of its own.
"""

from guardproxy.surfaces.contract import Contract, Treatment, treated

GUARDED, PASSED, COUNTED, REFUSED = Treatment.GUARDED, Treatment.PASSED, Treatment.COUNTED, Treatment.REFUSED

_REQUEST_FIELDS = {
    **treated(GUARDED, "input instructions previous_response_id stream tool_choice tools"),
    **treated(
        PASSED,
        """access_programs background_options client_metadata context_management image include max_output_tokens
        max_tool_calls metadata model moderation parallel_tool_calls prompt_cache_key prompt_cache_options
        prompt_cache_retention reasoning safety_identifier service_tier store stream_options
        temperature text top_logprobs top_p truncation user""",
    ),
    **treated(COUNTED, "conversation prompt"),
    **treated(REFUSED, "background"),  # its answer is fetched later, by a way on which nothing is judged
}

SAMPLER_FIELDS = frozenset(
    """allowed_token_ids bad_words chat_template_kwargs dry_sequence_breakers logit_bias reasoning_effort stop
    stop_token_ids structured_outputs thinking vllm_xargs""".split()
)
"""Objects and lists that vLLM, SGLang and llama.cpp read, and that declare no tool."""

_TOOLS = {
    **treated(
        GUARDED, "function custom namespace shell local_shell apply_patch computer computer_use_preview tool_search"
    ),
    **treated(
        REFUSED,
        """mcp code_interpreter programmatic_tool_calling file_search image_generation web_search web_search_2025_08_26
        web_search_preview web_search_preview_2025_03_11""",
    ),
}
"""REFUSED are those that the provider runs itself; `shell` is one of them too where its environment is a container."""

CALLS = frozenset(
    """function_call custom_tool_call shell_call local_shell_call apply_patch_call computer_call tool_search_call
    mcp_approval_request""".split()
)
"""Items that ask the client to run something, or to let it be run."""

RESULTS = frozenset(
    """function_call_output custom_tool_call_output shell_call_output local_shell_call_output apply_patch_call_output
    computer_call_output tool_search_output""".split()
)

SERVER_RUN = frozenset(
    """mcp_call web_search_call file_search_call code_interpreter_call image_generation_call program
    program_output""".split()
)
"""Items that say what the provider has run already."""

_INPUT_ITEMS = {
    **dict.fromkeys(CALLS | RESULTS, GUARDED),
    **treated(GUARDED, "additional_tools mcp_list_tools"),
    **dict.fromkeys(SERVER_RUN, PASSED),
    **treated(PASSED, "message reasoning mcp_approval_response configuration_update compaction_trigger"),
    **treated(COUNTED, "compaction item_reference"),
}

_CONTENT_PARTS = {
    **treated(PASSED, "input_text output_text refusal text summary_text reasoning_text"),
    **treated(COUNTED, "input_image input_file input_audio computer_screenshot"),
}

_OUTPUT_ITEMS = {
    **dict.fromkeys(CALLS, GUARDED),
    **dict.fromkeys(SERVER_RUN, COUNTED),
    **treated(COUNTED, "compaction"),
    **dict.fromkeys(RESULTS, PASSED),
    **treated(PASSED, "message reasoning additional_tools mcp_list_tools mcp_approval_response"),
}

_OUTPUT_PARTS = treated(PASSED, "output_text refusal reasoning_text summary_text")

LIFECYCLE = frozenset({"response.created", "response.queued", "response.in_progress"})
TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})

_EVENTS = {
    **treated(
        GUARDED,
        """response.output_item.added response.output_item.done
        response.function_call_arguments.delta response.function_call_arguments.done
        response.custom_tool_call_input.delta response.custom_tool_call_input.done
        response.shell_call_command.added response.shell_call_command.delta response.shell_call_command.done
        response.completed response.incomplete response.failed""",
    ),
    **treated(
        PASSED,
        """response.created response.queued response.in_progress error
        response.content_part.added response.content_part.done
        response.output_text.delta response.output_text.done response.output_text.annotation.added
        response.refusal.delta response.refusal.done
        response.reasoning_text.delta response.reasoning_text.done
        response.reasoning_part.added response.reasoning_part.done
        response.reasoning_summary_part.added response.reasoning_summary_part.done
        response.reasoning_summary_text.delta response.reasoning_summary_text.done
        response.compaction.compacting
        response.shell_call_output_content.delta response.shell_call_output_content.done
        response.mcp_call_arguments.delta response.mcp_call_arguments.done
        response.mcp_call.in_progress response.mcp_call.completed response.mcp_call.failed
        response.mcp_list_tools.in_progress response.mcp_list_tools.completed response.mcp_list_tools.failed
        response.code_interpreter_call_code.delta response.code_interpreter_call_code.done
        response.code_interpreter_call.in_progress response.code_interpreter_call.interpreting
        response.code_interpreter_call.completed
        response.file_search_call.in_progress response.file_search_call.searching response.file_search_call.completed
        response.web_search_call.in_progress response.web_search_call.searching response.web_search_call.completed
        response.image_generation_call.in_progress response.image_generation_call.generating
        response.image_generation_call.partial_image response.image_generation_call.completed""",
    ),
    **treated(
        COUNTED,
        """response.audio.delta response.audio.done response.audio.transcript.delta
        response.audio.transcript.done""",
    ),
}

CONTRACT: Contract = {
    "request fields": _REQUEST_FIELDS,
    "tools": _TOOLS,
    "input items": _INPUT_ITEMS,
    "content parts": _CONTENT_PARTS,
    "output items": _OUTPUT_ITEMS,
    "output parts": _OUTPUT_PARTS,
    "events": _EVENTS,
}
