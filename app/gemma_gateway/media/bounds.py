"""What images may be, as the settings say it to a worker."""

from __future__ import annotations

import msgspec

from gemma_gateway.settings import MediaSettings

BASE_BYTES = 768 * 1024 * 1024  # of a worker's address space: Python, Pillow and two files
PIXEL_BYTES = 20  # four for the picture, as many for it turned; WebP's encoder takes the rest


class Bounds(msgspec.Struct, frozen=True):
    """The bounds on one image.

    Args:
        image_bytes: of a file.
        image_pixels: width times height.
        image_frames: of an animated one.
        image_clean: turn it as EXIF says, and remove metadata.
    """

    image_bytes: int
    image_pixels: int
    image_frames: int
    image_clean: bool

    @classmethod
    def of(cls, settings: MediaSettings) -> Bounds:
        """The bounds that the settings say."""
        return cls(
            settings.image_max_bytes,
            settings.image_max_pixels,
            settings.image_max_frames,
            settings.image_clean,
        )

    @property
    def most_answer(self) -> int:
        """Bytes that a worker may answer with: a picture written anew, in base64."""
        return 8 * self.image_bytes + 128 * 1024

    @property
    def address_space(self) -> int:
        """Bytes of address space that a worker may have."""
        return BASE_BYTES + PIXEL_BYTES * self.image_pixels + 8 * self.image_bytes
