"""The closed contract of the Messages API: what becomes of every field, tool, block, delta and event that it knows.

A name that is in no table is not passed by oversight: a request field that holds an object or a list is refused, and
so are a tool and a content block of a request; in an answer it is an opaque call.
"""

import re
from collections.abc import Mapping

from guardproxy.surfaces.contract import Contract, Treatment, treated

GUARDED, PASSED, COUNTED, REFUSED = Treatment.GUARDED, Treatment.PASSED, Treatment.COUNTED, Treatment.REFUSED

CONTRACT: Contract = {
    "request fields": treated(GUARDED, "messages tools")
    | treated(
        PASSED,
        "max_tokens model system stream temperature top_p top_k stop_sequences tool_choice thinking output_config "
        "output_format metadata cache_control service_tier speed inference_geo diagnostics context_management "
        "compaction fallbacks fallback_credit_token billing_policy betas user_profile_id workspace_id",
    )
    | treated(COUNTED, "container")
    | treated(REFUSED, "mcp_servers thread"),
    "tools": treated(
        GUARDED,
        "custom bash_20241022 bash_20250124 memory_20250818 "
        "text_editor_20241022 text_editor_20250124 text_editor_20250429 text_editor_20250728 "
        "computer_20241022 computer_20250124 computer_20251124 computer_toolset_20260801 browser_toolset_20260801",
    )
    | treated(
        REFUSED,
        "code_execution_20250522 code_execution_20250825 code_execution_20260120 code_execution_20260521 "
        "web_search_20250305 web_search_20260209 web_search_20260318 "
        "web_fetch_20250910 web_fetch_20260209 web_fetch_20260309 web_fetch_20260318 "
        "tool_search_tool_bm25_20251119 tool_search_tool_bm25 "
        "tool_search_tool_regex_20251119 tool_search_tool_regex advisor_20260301 mcp_toolset",
    ),
    "tool changes": treated(GUARDED, "tool_definition")
    | treated(PASSED, "tool_reference mcp_tool_reference mcp_toolset_reference"),
    "content blocks": treated(GUARDED, "tool_use tool_result tool_addition")
    | treated(
        PASSED,
        "text thinking redacted_thinking search_result tool_removal tool_reference browser_state fallback "
        "mcp_tool_listing",
    )
    | treated(
        COUNTED,
        "image document container_upload compaction server_tool_use mcp_tool_use mcp_tool_result "
        "web_search_tool_result web_fetch_tool_result advisor_tool_result code_execution_tool_result "
        "bash_code_execution_tool_result text_editor_code_execution_tool_result tool_search_tool_result",
    ),
    "answer blocks": treated(GUARDED, "tool_use")
    | treated(PASSED, "text thinking redacted_thinking fallback mcp_tool_listing")
    | treated(
        COUNTED,
        "container_upload compaction server_tool_use mcp_tool_use mcp_tool_result web_search_tool_result "
        "web_fetch_tool_result advisor_tool_result code_execution_tool_result bash_code_execution_tool_result "
        "text_editor_code_execution_tool_result tool_search_tool_result",
    ),
    "deltas": treated(GUARDED, "input_json_delta")
    | treated(PASSED, "text_delta citations_delta thinking_delta signature_delta compaction_delta"),
    "events": treated(GUARDED, "content_block_start content_block_delta content_block_stop")
    | treated(PASSED, "message_start message_delta message_stop ping error"),
}

TOOLSETS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "computer_toolset_20260801": (
        "computer",
        tuple(
            "key hold_key type cursor_position mouse_move left_mouse_down left_mouse_up left_click left_click_drag "
            "right_click middle_click double_click triple_click scroll wait screenshot zoom".split()
        ),
    ),
    "browser_toolset_20260801": (
        "browser",
        tuple(
            "navigate list_tabs new_tab switch_tab close_tab read_page get_page_text read_console read_network find "
            "form_input file_upload scroll_to screenshot zoom left_click right_click middle_click double_click "
            "triple_click hover left_click_drag left_mouse_down left_mouse_up mouse_move scroll type key hold_key "
            "wait javascript_exec".split()
        ),
    ),
}
"""The family of a toolset, as its calls name it, and its members. A member's call is named `family.member` here."""

DELTA_BLOCKS: Mapping[str, frozenset[str]] = {
    "text_delta": frozenset({"text"}),
    "citations_delta": frozenset({"text"}),
    "thinking_delta": frozenset({"thinking"}),
    "signature_delta": frozenset({"thinking"}),
    "input_json_delta": frozenset({"tool_use", "server_tool_use", "mcp_tool_use"}),
    "compaction_delta": frozenset({"compaction"}),
}
"""The types of the blocks that a delta may add to."""

SERVER_TOOLS = frozenset(
    "advisor web_search web_fetch code_execution bash_code_execution text_editor_code_execution "
    "tool_search_tool_regex tool_search_tool_bm25".split()
)
"""What `server_tool_use` may be called: names that are few enough to count by."""

_DATE = re.compile(r"_\d{8}$")


def family(tool_type: str) -> str:
    """A tool type without its version: `web_search` for `web_search_20250305`."""
    return _DATE.sub("", tool_type)
