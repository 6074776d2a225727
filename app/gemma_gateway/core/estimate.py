"""How many tokens a prompt has, where no engine has counted them."""

from __future__ import annotations

CHARS_PER_TOKEN = 4  # rule of thumb for English
# Of Gemma 3, for a picture of any size that isn't cut into crops ("pan and scan", off by default):
# mm_tokens_per_image in the models' config.json. Gemma 3n and Gemma 4's default take as many or
# fewer.
IMAGE_TOKENS = 256


def prompt_tokens(characters: int, images: int = 0) -> int:
    """Tokens of a prompt, roughly.

    Args:
        characters: of its text; those of the images' own data don't count.
        images: pictures in it.
    """
    return max(0, characters) // CHARS_PER_TOKEN + IMAGE_TOKENS * images
