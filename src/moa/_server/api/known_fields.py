"""Every field and block that clients of the three APIs send, and what becomes of it.

Requests are read by way of these tables: what isn't here is unknown to every client of the API, and refused as a
mistake. The rule: a field that can't change the answer here is taken. What means something to the aggregator's service
is passed on to it. What would change the answer is honoured, or refused with what to do about it.

Sources: the request types of the SDKs `openai` and `anthropic` (a test walks them), and what Claude Code,
Codex, opencode, Vercel's AI SDK, LiteLLM, OpenRouter's, vLLM's and llama.cpp's clients add of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SDK_VERSIONS = {"openai": "3.57.0", "anthropic": "2.14.0"}
"""Up to which versions of the SDKs the tables are complete; `scripts/check_clients.py` lists what newer ones added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a field or a type is refused.

    Attributes:
        why: What to do about it; follows "NAME is not supported: ".
        harmless: Values that ask for nothing, and are taken.
    """

    why: str
    harmless: tuple[object, ...] = ()


class Known:
    """One kind of object in a request; its fields are given as words.

    Args:
        honoured: Fields that have their meaning here.
        passed_on: Fields that go to the aggregator's service as they are.
        harmless: Fields that can't change the answer; taken and left out.
        refused: Fields that would change the answer, and can't be honoured.
        nested: The kinds of objects that honoured fields hold.
        defaults: What the API takes refused fields for that aren't there, where that asks for something.
    """

    def __init__(
        self,
        honoured: str = "",
        *,
        passed_on: str = "",
        harmless: str = "",
        refused: Mapping[str, Refusal] | None = None,
        nested: Mapping[str, str] | None = None,
        defaults: Mapping[str, object] | None = None,
    ) -> None:
        self.honoured = frozenset(honoured.split())
        self.passed_on = frozenset(passed_on.split())
        self.harmless = frozenset(harmless.split())
        self.refused, self.nested, self.defaults = refused or {}, nested or {}, defaults or {}
        self.names = self.honoured | self.passed_on | self.harmless | frozenset(self.refused)


DROPPED = Known()
"""Objects that no model is shown; taken and left out."""

Table = Mapping[str, Known | Refusal]
"""Kinds of objects by name; `KIND:TYPE` is for objects of a kind whose `type` (of messages: whose `role`) is TYPE."""


def _each(kind: str, types: str, known: Known | Refusal) -> dict[str, Known | Refusal]:
    return {f"{kind}:{name}": known for name in types.split()}


NOT_STORED = "this server stores no such thing"
_RUNS_ELSEWHERE = "it runs at its vendor's servers, not here; switch it off, or give a function of your own"
_OPERATORS_CHOICE = "the operator chooses who serves a model, by `extra` in the mixture"
_NO_SERVER_TOOLS = Refusal(why=_RUNS_ELSEWHERE)
_OF_THEIR_MODELS = Refusal(why="only its vendor's own models know it; give functions of your own")
_NO_FILES = Refusal(why="this server keeps no files: send the content itself")
_MODERATION = Refusal(why="use a service of its own")
_CLIENT_KEYS = (
    "provider_options providerOptions provider_metadata providerMetadata provider_specific_fields extra_content"
)
"""What clients' own libraries hang on messages, parts and tools."""

_OPENAI_PASSED_ON = (
    "parallel_tool_calls prompt_cache_key prompt_cache_options prompt_cache_retention safety_identifier service_tier "
    "user"
)

_OF_VLLM = (
    "ignore_eos skip_special_tokens spaces_between_special_tokens include_stop_str_in_output stop_token_ids bad_words "
    "allowed_token_ids add_generation_prompt continue_final_message add_special_tokens mm_processor_kwargs "
    "structural_tag guided_decoding_backend guided_whitespace_pattern cache_salt"
)
"""Source: `ChatCompletionRequest` in vLLM's vllm/entrypoints/openai/protocol.py."""

_OF_LLAMA_CPP = (
    "tfs_z dynatemp_range dynatemp_exponent xtc_probability xtc_threshold dry_multiplier dry_base dry_allowed_length "
    "dry_penalty_last_n dry_sequence_breakers top_n_sigma repeat_last_n penalize_nl samplers n_keep min_keep id_slot "
    "reasoning_format parse_tool_calls"
)
"""Source: the README of llama.cpp's tools/server."""

CHAT: Table = {
    "request": Known(
        "messages model temperature top_p top_k max_tokens max_completion_tokens stop seed tools tool_choice "
        "response_format logprobs top_logprobs reasoning_effort stream stream_options moa reasoning",
        passed_on=f"{_OPENAI_PASSED_ON} frequency_penalty presence_penalty logit_bias verbosity min_p top_a typical_p "
        "repetition_penalty repeat_penalty chat_template_kwargs enable_thinking thinking thinking_budget think "
        "mirostat mirostat_eta mirostat_tau grammar guided_json guided_regex guided_choice guided_grammar "
        "structured_outputs min_tokens length_penalty safe_prompt cache_prompt num_ctx "
        f"{_OF_VLLM} {_OF_LLAMA_CPP}",
        harmless="metadata store prediction cache_control usage include_usage include_reasoning chat_id session_id "
        "client_metadata keep_alive title tags trace user_info litellm_metadata litellm_session_id request_id ttl "
        "verbose return_tokens_as_token_ids return_token_ids prompt_logprobs timings_per_token return_progress "
        "return_tokens post_sampling_probs n_probs",
        refused={
            "n": Refusal(why="a mixture gives one answer", harmless=(1,)),
            "best_of": Refusal(why="a mixture gives one answer", harmless=(1,)),
            "audio": Refusal(why="only text is answered"),
            "modalities": Refusal(why="only text is answered", harmless=(["text"], [])),
            "web_search_options": Refusal(why="switch web search off, or give a function of your own"),
            "functions": Refusal(why="use tools", harmless=([],)),
            "function_call": Refusal(why="use tool_choice", harmless=("auto", "none")),
            "moderation": _MODERATION,
            "plugins": Refusal(why=_RUNS_ELSEWHERE, harmless=([],)),
            "models": Refusal(why="name one model in `model`; a mixture has fallbacks of its own", harmless=([],)),
            "provider": Refusal(why=_OPERATORS_CHOICE, harmless=({},)),
            "route": Refusal(why=_OPERATORS_CHOICE),
            "transforms": Refusal(why="nothing is left out silently", harmless=([],)),
            "extra_body": Refusal(why="put its fields into the request itself, as OpenAI's SDK does", harmless=({},)),
            "n_predict": Refusal(why="use max_tokens", harmless=(-1,)),
            "chat_template": Refusal(why="the operator chooses how a model is prompted, by `extra` in the mixture"),
            "priority": Refusal(why=_OPERATORS_CHOICE, harmless=(0,)),
            "echo": Refusal(why="the reply holds the answer alone", harmless=(False,)),
        },
        nested={
            "messages": "message",
            "tools": "tool",
            "stream_options": "stream_options",
            "response_format": "response_format",
            "reasoning": "reasoning",
        },
    ),
    "reasoning": Known("effort", harmless="summary exclude enabled max_tokens generate_summary"),
    "stream_options": Known("include_usage", harmless="include_obfuscation continuous_usage_stats chunk_include_usage"),
    "message": Known(
        "role content name tool_calls tool_call_id refusal reasoning_content reasoning_details cache_control",
        harmless="reasoning reasoning_text reasoning_opaque reasoning_signature thinking "
        "thinking_blocks annotations parsed id created_at createdAt timestamp status type model usage "
        "finish_reason logprobs metadata citations images is_error experimental_attachments prefix thought_signature "
        f"{_CLIENT_KEYS}",
        refused={
            "audio": Refusal(why="send its transcript as text"),
            "function_call": Refusal(why="use tool_calls"),
        },
        nested={"content": "part", "tool_calls": "tool_call"},
    ),
    "message:function": Refusal(why="use the role tool, with tool_call_id"),
    "part:text": Known("type text cache_control", harmless=f"prompt_cache_breakpoint annotations {_CLIENT_KEYS}"),
    "part:input_text": Known("type text cache_control", harmless=f"prompt_cache_breakpoint annotations {_CLIENT_KEYS}"),
    "part:output_text": Known("type text", harmless=f"annotations logprobs {_CLIENT_KEYS}"),
    "part:refusal": Known("type refusal"),
    "part:image_url": Known(
        "type image_url cache_control",
        harmless=f"prompt_cache_breakpoint {_CLIENT_KEYS}",
        nested={"image_url": "image_url"},
    ),
    "image_url": Known("url detail", harmless="format media_type"),
    "part:file": Known(
        "type file", harmless=f"prompt_cache_breakpoint cache_control {_CLIENT_KEYS}", nested={"file": "file"}
    ),
    "file": Known("file_data filename", harmless="format", refused={"file_id": _NO_FILES}),
    **_each("part", "thinking redacted_thinking reasoning reasoning_text", DROPPED),
    "part:input_audio": Refusal(why="send its transcript as text"),
    "tool_call": Known("id function", harmless=f"index {_CLIENT_KEYS}", nested={"function": "called_function"}),
    "tool_call:function": Known(
        "id type function", harmless=f"index {_CLIENT_KEYS}", nested={"function": "called_function"}
    ),
    "called_function": Known("name arguments", harmless=f"description output parsed_arguments {_CLIENT_KEYS}"),
    "tool_call:custom": Known("id type custom", harmless="index", nested={"custom": "called_custom"}),
    "called_custom": Known("name input"),
    "tool:function": Known(
        "type function cache_control",
        harmless=f"defer_loading eager_input_streaming allowed_callers input_examples {_CLIENT_KEYS}",
        nested={"function": "function"},
    ),
    "function": Known(
        "name description parameters strict cache_control",
        harmless="returns examples defer_loading eager_input_streaming allowed_callers input_examples "
        "additionalProperties type",
    ),
    "tool:custom": Known("type custom cache_control", nested={"custom": "custom"}),
    "custom": Known("name description format", nested={"format": "custom_format"}),
    "custom_format:text": Known("type"),
    "custom_format:grammar": Known("type grammar", nested={"grammar": "grammar"}),
    "grammar": Known("definition syntax"),
    **_each("tool", "web_search web_search_preview openrouter:web_search mcp code_interpreter", _NO_SERVER_TOOLS),
    "response_format:text": Known("type"),
    "response_format:json_object": Known("type schema"),
    "response_format:json_schema": Known(
        "type json_schema name description schema strict", nested={"json_schema": "json_schema"}
    ),
    "json_schema": Known("name description schema strict"),
}
"""OpenAI's Chat Completions."""

_BREAKPOINT = "prompt_cache_breakpoint"
_ITEM = "id status"
VENDORS_ITEMS = (
    *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call"),
    *("mcp_approval_request", "tool_search_call", "tool_search_output", "local_shell_call", "local_shell_call_output"),
    *("shell_call", "shell_call_output", "apply_patch_call", "apply_patch_call_output", "program", "program_output"),
)
"""Items of tools of OpenAI's own in a conversation that began there: models are shown them as text."""
_FUNCTION_HINTS = "async allowed_callers defer_loading output_schema"

RESPONSES: Table = {
    "request": Known(
        "model input instructions max_output_tokens tools tool_choice text reasoning include metadata stream "
        "stream_options temperature top_p top_logprobs previous_response_id store moa",
        passed_on=_OPENAI_PASSED_ON,
        harmless="client_metadata access_programs background background_options image context_management personality "
        "user_agent",
        refused={
            "conversation": Refusal(why=f"{NOT_STORED}: use previous_response_id, or send the whole conversation"),
            "prompt": Refusal(why=f"{NOT_STORED}: send the prompt's text"),
            "truncation": Refusal(why="nothing is left out silently", harmless=("disabled", "auto")),
            "max_tool_calls": Refusal(why="tools are run by the client, which counts them"),
            "moderation": _MODERATION,
        },
        nested={
            "input": "item",
            "tools": "tool",
            "text": "text",
            "reasoning": "reasoning",
            "stream_options": "stream_options",
            "tool_choice": "tool_choice",
        },
    ),
    "stream_options": Known(harmless="include_obfuscation include_usage reasoning_summary_delivery"),
    "reasoning": Known("effort summary", harmless="context generate_summary mode"),
    "text": Known("format verbosity", nested={"format": "text_format"}),
    "text_format:text": Known("type"),
    "text_format:json_object": Known("type"),
    "text_format:json_schema": Known("type name schema description strict"),
    "item": Known("role content", harmless=f"{_ITEM} phase type", nested={"content": "part"}),
    "item:message": Known(
        "type role content",
        harmless=f"{_ITEM} phase end_turn internal_chat_message_metadata_passthrough {_CLIENT_KEYS}",
        nested={"content": "part"},
    ),
    "item:function_call": Known(
        "type call_id name arguments namespace",
        harmless=f"{_ITEM} async caller internal_chat_message_metadata_passthrough {_CLIENT_KEYS}",
    ),
    "item:function_call_output": Known(
        "type call_id output",
        harmless=f"{_ITEM} caller name namespace internal_chat_message_metadata_passthrough",
        nested={"output": "part"},
    ),
    "item:custom_tool_call": Known(
        "type call_id name input namespace",
        harmless=f"{_ITEM} async caller internal_chat_message_metadata_passthrough",
    ),
    "item:custom_tool_call_output": Known(
        "type call_id output",
        harmless=f"{_ITEM} caller name internal_chat_message_metadata_passthrough",
        nested={"output": "part"},
    ),
    "item:item_reference": Known("type id"),
    "item:additional_tools": Known("type tools", harmless="role id", nested={"tools": "tool"}),
    "item:configuration_update": Known(
        "type reasoning text", harmless="id", nested={"reasoning": "reasoning", "text": "text"}
    ),
    "item:reasoning": Known(
        "type id summary content encrypted_content", harmless="status internal_chat_message_metadata_passthrough"
    ),
    **_each("item", "mcp_list_tools mcp_approval_response compaction_trigger ghost_snapshot", DROPPED),
    "item:compaction": Refusal(why="its text is encrypted by the service that made it: begin a new conversation"),
    **_each("item", "computer_call computer_call_output", _OF_THEIR_MODELS),
    **_each(
        "item",
        " ".join(VENDORS_ITEMS),
        Known(
            "type action arguments code error name operation output outputs queries result results server_label tools",
            harmless=f"{_ITEM} approval_request_id call_id caller container_id environment execution fingerprint "
            "internal_chat_message_metadata_passthrough max_output_length",
        ),
    ),
    "item:image_generation_call": Known(
        "type revised_prompt error", harmless=f"{_ITEM} action background output_format quality result size svg_usage"
    ),
    "part:input_text": Known("type text", harmless=_BREAKPOINT),
    "part:text": Known("type text", harmless=_BREAKPOINT),
    "part:output_text": Known("type text", harmless=f"annotations logprobs {_BREAKPOINT}"),
    "part:refusal": Known("type refusal"),
    "part:input_image": Known("type image_url detail", harmless=_BREAKPOINT, refused={"file_id": _NO_FILES}),
    "part:input_file": Known(
        "type file_data file_url filename", harmless=f"detail {_BREAKPOINT}", refused={"file_id": _NO_FILES}
    ),
    "part:reasoning_text": DROPPED,
    "part:input_audio": Refusal(why="send its transcript as text"),
    "tool:function": Known("type name description parameters strict cache_control", harmless=_FUNCTION_HINTS),
    "tool:custom": Known(
        "type name description format cache_control", harmless=_FUNCTION_HINTS, nested={"format": "custom_format"}
    ),
    "custom_format:text": Known("type"),
    "custom_format:grammar": Known("type definition syntax"),
    "tool:namespace": Known("type name description tools", nested={"tools": "tool"}),
    "tool:web_search": Known(
        harmless="type search_context_size user_location filters indexed_web_access return_token_budget "
        "search_content_types",
        refused={
            "external_web_access": Refusal(
                why='web search runs at OpenAI, not here; switch it off (Codex: web_search = "disabled")',
                harmless=(False,),
            )
        },
        defaults={"external_web_access": True},
    ),
    **_each(
        "tool",
        "file_search web_search_2025_08_26 mcp code_interpreter programmatic_tool_calling image_generation "
        "web_search_preview web_search_preview_2025_03_11",
        _NO_SERVER_TOOLS,
    ),
    **_each("tool", "computer computer_use_preview local_shell shell apply_patch tool_search", _OF_THEIR_MODELS),
    "tool_choice:allowed_tools": Known("type mode tools"),
    "tool_choice:function": Known("type name", harmless="namespace"),
    "tool_choice:custom": Known("type name", harmless="namespace"),
    **_each(
        "tool_choice",
        "file_search web_search_preview computer computer_use_preview computer_use web_search_preview_2025_03_11 "
        "image_generation code_interpreter mcp programmatic_tool_calling apply_patch shell",
        _NO_SERVER_TOOLS,
    ),
}
"""OpenAI's Responses."""

_TOOL_HINTS = "allowed_callers defer_loading eager_input_streaming input_examples"
_SERVER_TOOLS = (
    "code_execution_20250522 code_execution_20250825 code_execution_20260120 code_execution_20260521 "
    "web_search_20250305 web_fetch_20250910 web_search_20260209 web_fetch_20260209 web_fetch_20260309 "
    "web_search_20260318 web_fetch_20260318 advisor_20260301 tool_search_tool_bm25_20251119 tool_search_tool_bm25 "
    "tool_search_tool_regex_20251119 tool_search_tool_regex mcp_toolset"
)
_CLIENT_TOOLS = (
    "bash_20241022 bash_20250124 text_editor_20241022 text_editor_20250124 text_editor_20250429 text_editor_20250728 "
    "memory_20250818"
)
_SCREEN_TOOLS = (
    "computer_20241022 computer_20250124 computer_20251124 computer_toolset_20260801 browser_toolset_20260801"
)
_SERVER_RESULTS = (
    "server_tool_use web_search_tool_result web_fetch_tool_result advisor_tool_result code_execution_tool_result "
    "bash_code_execution_tool_result text_editor_code_execution_tool_result tool_search_tool_result mcp_tool_use "
    "mcp_tool_result browser_state"
)

MESSAGES: Table = {
    "request": Known(
        "model max_tokens messages system temperature top_p top_k stop_sequences tools tool_choice metadata "
        "output_config output_format thinking thread stream moa",
        harmless="cache_control context_management diagnostics fallback_credit_token fallbacks service_tier speed "
        "betas user_profile_id workspace_id billing_policy anthropic_beta anthropic_version client_metadata",
        refused={
            "container": Refusal(why=f"{NOT_STORED}: tools are run by the client"),
            "inference_geo": Refusal(why="models are where their endpoints are", harmless=("", "default", "global")),
            "mcp_servers": Refusal(why="MCP servers are called by the client, not from here", harmless=([],)),
            "compaction": Refusal(why="summarize the conversation by an ordinary request"),
        },
        nested={
            "messages": "message",
            "system": "block",
            "tools": "tool",
            "tool_choice": "tool_choice",
            "metadata": "metadata",
            "output_config": "output_config",
            "output_format": "output_format",
            "thinking": "thinking",
            "thread": "thread",
        },
    ),
    "message": Known(
        "role content clear_at",
        harmless="output_config id type model stop_reason stop_sequence usage container context_management "
        "stop_details diagnostics name cache_control",
        nested={"content": "block"},
    ),
    "block:text": Known("type text cache_control", harmless="citations parsed_output"),
    "block:image": Known("type source cache_control", harmless="transformations", nested={"source": "source"}),
    "block:document": Known(
        "type source title context", harmless="cache_control citations", nested={"source": "source"}
    ),
    "source:base64": Known("type data media_type"),
    "source:url": Known("type url", harmless="media_type"),
    "source:text": Known("type data", harmless="media_type"),
    "source:content": Known("type content", nested={"content": "block"}),
    "source:file": _NO_FILES,
    "block:search_result": Known(
        "type title source content", harmless="cache_control citations", nested={"content": "block"}
    ),
    "block:thinking": Known("type thinking signature", harmless="cache_control"),
    "block:redacted_thinking": Known("type data", harmless="cache_control"),
    "block:tool_use": Known("type id name input cache_control", harmless="caller toolset_name"),
    "block:tool_result": Known(
        "type tool_use_id content is_error cache_control", harmless="toolset_name", nested={"content": "block"}
    ),
    "block:tool_reference": Known("type tool_name", harmless="cache_control"),
    "block:compaction": Known("type content", harmless="cache_control encrypted_content signature tool_changes"),
    **_each(
        "block",
        _SERVER_RESULTS,
        Known(
            "type name input content",
            harmless="id tool_use_id caller cache_control server_name is_error tabs state_changes",
        ),
    ),
    **_each("block", "fallback mcp_tool_listing", DROPPED),
    "block:container_upload": _NO_FILES,
    "block:tool_addition": Refusal(why="give all tools in `tools`"),
    "block:tool_removal": Refusal(why="give all tools in `tools`"),
    "tool": Known("name description input_schema strict cache_control", harmless=_TOOL_HINTS),
    "tool:custom": Known("type name description input_schema strict cache_control", harmless=_TOOL_HINTS),
    **_each("tool", _CLIENT_TOOLS, Known("type name cache_control", harmless=f"{_TOOL_HINTS} strict max_characters")),
    **_each("tool", _SERVER_TOOLS, _NO_SERVER_TOOLS),
    **_each("tool", _SCREEN_TOOLS, _OF_THEIR_MODELS),
    "tool_choice": Known("type name disable_parallel_tool_use"),
    "metadata": Known("user_id"),
    "output_config": Known("effort format", harmless="task_budget", nested={"format": "output_format"}),
    "output_format": Known("type schema", harmless="name"),
    "thinking": Known("type budget_tokens", harmless="display block_binding"),
    "thread": Known("type previous_message_id"),
}
"""Anthropic's Messages, with what is in beta."""


def rule_for(table: Table, kind: str, value: Mapping[str, object]) -> Known | Refusal | None:
    """Return the rule for an object of a kind; None if no client knows an object of its type."""
    name = value.get("role" if kind == "message" else "type")
    if (known := table.get(f"{kind}:{name}")) is not None:
        return known
    untyped = table.get(kind)
    # Roles are checked with the message's other fields. An unknown type is none of the untyped objects of its kind.
    is_other_type = untyped is not None and name is not None and kind != "message" and bool(variants(table, kind))
    return None if is_other_type else untyped


def variants(table: Table, kind: str) -> Sequence[str]:
    """Return the types that objects of a kind may have and that are honoured."""
    prefix = f"{kind}:"
    return [
        name.removeprefix(prefix)
        for name, known in table.items()
        if name.startswith(prefix) and isinstance(known, Known) and known.honoured
    ]
