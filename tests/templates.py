"""What the chat templates do that Google's instruct models bring, as data for tests."""

from __future__ import annotations

# google/gemma-3-*-it, from its chat_template.json (the same text is in huggingface/transformers,
# models/gemma3/convert_gemma3_weights.py), in fewer words. In vLLM contents are lists of parts.
GEMMA_3 = """
{{- bos_token -}}
{%- set system = messages[0].role == 'system' -%}
{%- for message in (messages[1:] if system else messages) -%}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/...') -}}
    {%- endif -%}
    {{- '<start_of_turn>' ~ ('model' if message.role == 'assistant' else message.role) ~ '\\n' -}}
    {%- if system and loop.first -%}
        {%- set told = messages[0].content -%}
        {{- (told if told is string else told[0].text) ~ '\\n\\n' -}}
    {%- endif -%}
    {%- if message.content is string -%}
        {{- message.content | trim -}}
    {%- elif message.content is iterable -%}
        {%- for part in message.content -%}
            {%- if part.type == 'image' -%}
                {{- '<start_of_image>' -}}
            {%- elif part.type == 'text' -%}
                {{- part.text | trim -}}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{- raise_exception('Invalid content type') -}}
    {%- endif -%}
    {{- '<end_of_turn>\\n' -}}
{%- endfor -%}
{{- '<start_of_turn>model\\n' if add_generation_prompt -}}
"""
# google/gemma-3n-*-it: other places for images, and sounds.
GEMMA_3N = GEMMA_3.replace("<start_of_image>", "<image_soft_token>").replace(
    "{%- elif part.type == 'text' -%}",
    "{%- elif part.type == 'audio' -%}{{- '<audio_soft_token>' -}}{%- elif part.type == 'text' -%}",
)
# google/gemma-2-*-it (and Gemma 1's): texts only, and no system text.
GEMMA_2 = """
{{- bos_token -}}
{%- if messages[0].role == 'system' -%}
    {{- raise_exception('System role not supported') -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/...') -}}
    {%- endif -%}
    {{- '<start_of_turn>' ~ ('model' if message.role == 'assistant' else message.role) -}}
    {{- '\\n' ~ message.content | trim ~ '<end_of_turn>\\n' -}}
{%- endfor -%}
{{- '<start_of_turn>model\\n' if add_generation_prompt -}}
"""
