"""Other servers' and other routes' own names of fields, and what to send in their place.

Such a field bounds, binds or steers an answer, so leaving it out in silence would give another
answer than the one asked for; and some servers would let it win over the gateway's own bounds
(``n_predict`` over ``max_tokens`` in llama.cpp). Sources: the documentation of llama.cpp's server,
Ollama, SGLang, TGI, TensorRT-LLM, KoboldCpp, TabbyAPI, LM Studio, older vLLM, Gemini, and of
OpenAI's and Anthropic's APIs.
"""

from __future__ import annotations

from typing import Any

from gemma_gateway.core.dialect import Dialect

_NAMES: dict[str, str] = {
    "send {bound}, which bounds the answer": """
        n_predict num_predict max_new_tokens max_length max_gen_len max_gen_length output_len
        max_tokens_to_sample max_generated_tokens tokens_to_generate request_output_len
        max_decode_len maxOutputTokens maxTokens maxNewTokens maxPredictedTokens
        max_tokens max_completion_tokens max_output_tokens""",
    "send min_tokens": "min_new_tokens min_length min_output_tokens n_min ban_eos_token",
    "the operator bounds the time of a call": """
        t_max_predict_ms t_max_prompt_ms max_time time_limit""",
    "the operator sets the context's length": """
        num_ctx n_ctx n_keep num_keep n_discard max_context_length""",
    "send {binding}, which binds the answer": """
        ebnf regex grammar grammar_string grammar_lazy grammar_triggers json_schema structural_tag
        lark gbnf schema json format text regex_pattern response_schema responseSchema
        responseMimeType responseJsonSchema response_format structured_outputs output_config""",
    "send n, which asks for several answers": """
        n_cmpl num_return_sequences candidateCount candidate_count num_beams beam_width best_of
        early_stopping beam_search_diversity_rate""",
    "send {stop}": """
        stop stop_sequences stop_sequence stop_words stop_words_list stopSequences stop_regex
        stopStrings stop_strings antiprompt no_stop_trim""",
    "send logprobs and top_logprobs": """
        return_logprob logprob_start_len top_logprobs_num return_input_logprobs n_probs
        token_ids_logprob return_text_in_logprobs details decoder_input_details responseLogprobs
        post_sampling_probs top_n_tokens""",
    "send repetition_penalty": "repeat_penalty rep_pen repeatPenalty repetitionPenalty",
    "send presence_penalty": "presence_pen presencePenalty",
    "send frequency_penalty": "frequency_pen frequencyPenalty",
    "send top_p": "topP",
    "send top_k": "topK",
    "send min_p": "minP",
    "send temperature": "temp",
    "send seed": "random_seed sampling_seed",
    "send bad_words": "banned_tokens banned_strings custom_token_bans bad_words_ids",
    "send reasoning_effort": "think",
    "samplers are temperature, top_p, top_k, min_p and the penalties": """
        samplers sampler_seq sampler_order sampler_priority sampler_config typical typical_p tfs
        tfs_z top_a top_n_sigma nsigma min_keep repeat_last_n penalty_last_n penalty_range
        rep_pen_range rep_pen_slope do_sample penalty_alpha epsilon_cutoff eta_cutoff
        no_repeat_ngram_size encoder_repetition_penalty temperature_last skew quadratic watermark
        logit_bias_exp logits_bias force_words_ids suppress_tokens top_p_decay top_p_min
        top_p_reset_ids penalize_nl exponential_decay_length_penalty guidance_scale cfg_scale
        negative_prompt speculative draft_model""",
    "send what it holds at the top level of the body": """
        extra_body sampling_params sampling_config generation_config generationConfig parameters""",
    "name the adapter as model": "lora loras lora_name lora_id adapter adapter_id adapters",
    "send tools": "functions",
    "send tool_choice": "function_call",
    "send a message with the role system": """
        system system_prompt system_instruction systemInstruction""",
    "send what the model reads as messages, prompt or input": "inputs contents",
    "send images as parts of a message": "image_data images",
    "send its text in the prompt": "input_extra input_prefix",
    "send suffix": "input_suffix",
    "send it in the URL": "extra_query",
    "send it as headers": "extra_headers",
    "nothing here searches the web": "web_search_options",
    "no MCP server is called here: call it in the client and send tools": "mcp_servers",
    "no code runs here": "container",
    "nothing is kept here between calls: send the whole conversation": """
        previous_response_id conversation cached_content cachedContent assistant_id""",
    "responses run while the client listens: leave it out": "background",
    "no file is kept here: send its content in a message": """
        file_id file_ids attachments tool_resources vector_store_ids data_sources""",
    "answers are text": "audio modalities",
}
_ADVICE = {name: words for words, names in _NAMES.items() for name in names.split()}
_FAMILIES = {
    "guided_": _ADVICE["ebnf"],
    **dict.fromkeys(
        ("mirostat", "dry_", "xtc_", "dynatemp_", "smoothing_", "adaptive_", "speculative"),
        _ADVICE["samplers"],
    ),
}
# What asks for no more than one gets anyway.
_HARMLESS = {"modalities": ["text"], "best_of": 1, "n_cmpl": 1, "num_beams": 1}
# What binds an answer, by the field that a route takes for it; else the usual.
_BINDING = {"output_config": "output_config.format", "text": "text.format"}
_USUAL_BINDING = "response_format or structured_outputs"


def advice(dialect: Dialect, name: str, value: Any) -> str:
    """What to send in place of a field that the route doesn't know; empty: nothing is lost.

    Args:
        dialect: of a route that generates.
        name: the field's name.
        value: what it holds.
    """
    words = _ADVICE.get(name) or next(
        (words for family, words in _FAMILIES.items() if name.startswith(family)), ""
    )
    if not words or _HARMLESS.get(name) == value:
        return ""
    return words.format(
        bound=dialect.max_tokens[0],
        binding=next((_BINDING[f] for f in _BINDING if f in dialect.fields), _USUAL_BINDING),
        stop="stop_sequences" if "stop_sequences" in dialect.fields else "stop",
    )
