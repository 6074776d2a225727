"""What an image must be before an engine sees it: real files, broken ones and bombs."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from gemma_gateway.media.bounds import Bounds
from gemma_gateway.media.check import Checked, Refused
from gemma_gateway.media.image import check
from gemma_gateway.settings import MediaSettings
from tests import images
from tests.images import MARK, TYPES, animated, chunk, file, opened, photo, png

BOUNDS = Bounds.of(MediaSettings())
AS_IT_IS = Bounds.of(MediaSettings(image_clean=False))
KINDS = pytest.mark.parametrize("kind", TYPES)


def refusal(data: bytes, bounds: Bounds = BOUNDS) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        check(data, bounds)
    return caught.value.outcome, caught.value.text


@KINDS
def test_a_plain_image_goes_on_byte_for_byte(kind: str) -> None:
    assert check(file(kind), BOUNDS) == Checked(TYPES[kind])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_mode_of_pictures_passes(mode: str) -> None:
    out, kind = io.BytesIO(), "JPEG" if mode == "CMYK" else "PNG"
    images.picture(mode=mode if mode != "I;16" else "I").convert(mode).save(out, kind)
    assert check(out.getvalue(), BOUNDS) == Checked(TYPES[kind])


# ---- what isn't taken


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<!-- a --><svg/>", "SVG"),
        (b"<!DOCTYPE html><script>alert(1)</script>", "HTML"),
        (b"II*\0rest", "TIFF"),
        (b"MM\0*rest", "TIFF"),
        (b"BM" + bytes(60), "BMP"),
        (b"\0\0\0\x1cftypavif" + bytes(20), "AVIF"),
        (b"\0\0\0\x1cftypheic" + bytes(20), "HEIC"),
        (b"%PDF-1.7", "PDF"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "none of them"),
        (b"hello", "none of them"),
    ],
)
def test_other_files_are_told_by_their_content(data: bytes, name: str) -> None:
    outcome, text = refusal(data)
    assert outcome == "type"
    assert text == f"Images are taken as PNG, JPEG, GIF and WebP; this is {name}."


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "ICO", "AVIF", "PPM"])
def test_what_pillow_could_read_is_refused_all_the_same(kind: str) -> None:
    assert refusal(file(kind))[0] == "type"


def test_nothing_and_no_pixels() -> None:
    assert refusal(b"")[0] == "empty"
    assert refusal(png(0, 5))[0] in ("empty", "broken")


@KINDS
def test_a_file_that_is_cut_short_is_refused(kind: str) -> None:
    whole = file(kind, (64, 64))
    for length in (len(whole) // 3, len(whole) * 2 // 3):
        assert refusal(whole[:length])[0] == "broken"


def test_a_picture_with_damage_inside_is_refused() -> None:
    whole = bytearray(file("PNG", (64, 64)))
    whole[whole.index(b"IDAT") + 8] ^= 0xFF
    assert refusal(bytes(whole))[0] == "broken"


def test_a_beginning_alone_is_no_image() -> None:
    for beginning in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\0\0\0\0WEBP"):
        assert refusal(beginning + b"<script>alert(1)</script>")[0] == "broken"


# ---- bounds


def test_a_large_file_is_not_even_looked_at() -> None:
    bounds = Bounds.of(MediaSettings(image_max_bytes=1024))
    outcome, text = refusal(b"?" * 1025, bounds)
    assert (outcome, text) == (
        "bytes",
        "An image has at most 1,024 bytes (image_max_bytes); this one has 1,025.",
    )


def test_a_bomb_of_pixels_is_refused_by_what_it_claims() -> None:
    assert refusal(png(50_000, 50_000))[0] == "pixels"
    assert refusal(png(7_000, 6_000))[0] == "pixels"
    gif = bytearray(file("GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"  # the screen's width and height
    assert refusal(bytes(gif))[0] == "pixels"


def test_the_bound_on_pixels_is_exact() -> None:
    bounds = Bounds.of(MediaSettings(image_max_pixels=32))
    assert check(file("PNG", (8, 4)), bounds).data is None
    assert refusal(file("PNG", (8, 5)), bounds)[0] == "pixels"


def test_bombs_of_texts_and_profiles_are_refused() -> None:
    assert refusal(images.text_bomb())[0] == "broken"
    assert refusal(images.profile_bomb())[0] == "broken"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animated_images_are_refused(kind: str) -> None:
    assert refusal(animated(kind)) == (
        "frames",
        "Animated images are not taken: send one frame.",
    )


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_some_frames_may_be_allowed(kind: str) -> None:
    bounds = Bounds.of(MediaSettings(image_max_frames=3))
    assert check(animated(kind, 3), bounds) == Checked(TYPES[kind])
    outcome, text = refusal(animated(kind, 4), bounds)
    assert outcome == "frames"
    assert "at most 3 frames" in text


# ---- metadata


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_is_turned_and_says_no_more_where_it_was_taken(kind: str) -> None:
    data = photo(kind)
    assert MARK.encode() in data
    media_type, cleaned, _ = check(data, BOUNDS)
    assert media_type == TYPES[kind if kind != "WEBP" else "JPEG"]
    assert cleaned is not None
    assert MARK.encode() not in cleaned
    found = opened(cleaned)
    assert found.size == (8, 16)  # it was 16 by 8
    assert not found.getexif()
    red, blue = found.convert("RGB").getpixel((6, 2)), found.convert("RGB").getpixel((6, 13))
    assert isinstance(red, tuple)
    assert isinstance(blue, tuple)
    assert red[0] > 150 > red[2]  # what was on the left is above
    assert blue[2] > 150 > blue[0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_the_right_way_up_is_cleaned_too(kind: str) -> None:
    cleaned = check(photo(kind, 1), BOUNDS).data
    assert cleaned is not None
    assert opened(cleaned).size == (16, 8)
    assert MARK.encode() not in cleaned
    assert check(cleaned, BOUNDS).data is None  # nothing is left to be done


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(images.commented(), id="text of a PNG"),
        pytest.param(file("JPEG", comment=MARK), id="comment of a JPEG"),
        pytest.param(file("GIF", comment=MARK), id="comment of a GIF"),
        pytest.param(file("JPEG", xmp=b"<x:xmpmeta>" + MARK.encode()), id="XMP"),
        pytest.param(file("PNG") + MARK.encode(), id="behind a PNG"),
        pytest.param(file("JPEG") + MARK.encode(), id="behind a JPEG"),
        pytest.param(file("GIF") + MARK.encode(), id="behind a GIF"),
        pytest.param(file("WEBP") + MARK.encode(), id="behind a WebP"),
        pytest.param(png(1, 1, chunk(b"prVt", MARK.encode()), data=b"\0\0"), id="own chunk"),
    ],
)
def test_whatever_else_a_file_holds_is_removed(data: bytes) -> None:
    assert MARK.encode() in data
    cleaned = check(data, BOUNDS).data
    assert cleaned is not None
    assert MARK.encode() not in cleaned
    assert opened(cleaned).size == opened(data).size


def test_a_jpeg_keeps_its_colours_and_its_quality() -> None:
    profile = b"ICC" + bytes(200)
    data = photo("JPEG", 1, quality=37, icc_profile=profile)
    cleaned = check(data, BOUNDS).data
    assert cleaned is not None
    before, after = opened(data), opened(cleaned)
    assert after.info["icc_profile"] == profile
    assert after.quantization == before.quantization  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_picture_that_needs_no_turn_loses_nothing(kind: str) -> None:
    data = photo(kind, 1)
    cleaned = check(data, BOUNDS).data
    assert cleaned is not None
    assert len(cleaned) < len(data)
    assert opened(cleaned).tobytes() == opened(data).tobytes()


def test_what_can_be_seen_through_stays_so_when_it_is_turned() -> None:
    out, exif = io.BytesIO(), Image.Exif()
    exif[images.ORIENTATION] = 3
    Image.new("RGBA", (8, 4), (1, 2, 3, 4)).save(out, "WEBP", lossless=True, exact=True, exif=exif)
    media_type, cleaned, _ = check(out.getvalue(), BOUNDS)
    assert media_type == "image/png"
    assert cleaned is not None
    assert opened(cleaned).getpixel((0, 0)) == (1, 2, 3, 4)


def test_a_jpeg_with_a_preview_is_one_picture() -> None:
    out = io.BytesIO()
    images.picture().save(out, "MPO", save_all=True, append_images=[images.picture((4, 2))])
    media_type, cleaned, _ = check(out.getvalue(), BOUNDS)
    assert media_type == "image/jpeg"
    assert cleaned is not None
    assert opened(cleaned).format == "JPEG"


def test_exif_data_that_nobody_can_read_is_removed() -> None:
    data = file("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + MARK.encode())
    cleaned = check(data, BOUNDS).data
    assert cleaned is not None
    assert MARK.encode() not in cleaned


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_operator_may_leave_images_as_they_are(kind: str) -> None:
    assert check(photo(kind), AS_IT_IS) == Checked(TYPES[kind])


def test_a_check_leaves_no_picture_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """However it ends: a worker looks at many."""
    seen: list[Image.Image] = []
    real = Image.open

    def noting(*args: object, **kwargs: object) -> Image.Image:
        seen.append(real(*args, **kwargs))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(Image, "open", noting)
    check(file(), BOUNDS)
    refusal(animated())
    assert all(getattr(each, "fp", None) is None for each in seen)
