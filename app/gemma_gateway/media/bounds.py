"""What images and sounds may be, as the settings say it to a worker."""

from __future__ import annotations

import msgspec

from gemma_gateway.settings import MediaSettings

BASE_BYTES = 768 * 1024 * 1024  # of a worker's address space: Python, Pillow and two files
PIXEL_BYTES = 20  # four for the picture, as many for it turned; WebP's encoder takes the rest
SECOND_BYTES = 32_000  # of a decoded sound, see ``media.sound``


class Bounds(msgspec.Struct, frozen=True):
    """The bounds on one image, or one sound.

    Args:
        image_bytes: of a file.
        image_pixels: width times height.
        image_frames: of an animated one.
        image_clean: turn it as EXIF says, and remove metadata.
        audio_bytes: of a file.
        audio_seconds: of a sound.
    """

    image_bytes: int
    image_pixels: int
    image_frames: int
    image_clean: bool
    audio_bytes: int
    audio_seconds: int

    @classmethod
    def of(cls, settings: MediaSettings) -> Bounds:
        """The bounds that the settings say."""
        return cls(
            settings.image_max_bytes,
            settings.image_max_pixels,
            settings.image_max_frames,
            settings.image_clean,
            settings.audio_max_bytes,
            settings.audio_max_seconds,
        )

    @property
    def most_answer(self) -> int:
        """Bytes that a worker may answer with: a picture written anew, or a sound, in base64."""
        return max(8 * self.image_bytes, 2 * SECOND_BYTES * (self.audio_seconds + 1)) + 128 * 1024

    @property
    def address_space(self) -> int:
        """Bytes of address space that a worker may have."""
        image = PIXEL_BYTES * self.image_pixels + 8 * self.image_bytes
        # The file and its base64; the sound as it grows, as a file, and in base64.
        audio = 4 * self.audio_bytes + 6 * SECOND_BYTES * self.audio_seconds
        return BASE_BYTES + max(image, audio)
