"""How many tokens a prompt has, where no engine has counted them."""

from __future__ import annotations

from math import ceil

CHARS_PER_TOKEN = 4  # rule of thumb for English
# Of Gemma 3, for a picture of any size that isn't cut into crops ("pan and scan", off by default):
# mm_tokens_per_image in the models' config.json. Gemma 3n and Gemma 4's default take as many or
# fewer.
IMAGE_TOKENS = 256
# Of Gemma 3n, whose encoder makes a token of 160 ms (audio_seq_length 188 for 30 s, in its
# processor's config).
AUDIO_TOKENS_PER_SECOND = 6.25


def prompt_tokens(characters: int, images: int = 0, audio_seconds: float = 0.0) -> int:
    """Tokens of a prompt, roughly.

    Args:
        characters: of its text; those of the images' own data don't count.
        images: pictures in it.
        audio_seconds: of the sounds in it.
    """
    media = IMAGE_TOKENS * images + ceil(AUDIO_TOKENS_PER_SECOND * audio_seconds)
    return max(0, characters) // CHARS_PER_TOKEN + media
