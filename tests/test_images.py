"""Every kind of image comes out as upright uint8 RGB; what can't is refused with a message that names it."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from promptseg.data.layout import image_problem
from promptseg.errors import ImageError, ImageWarning
from promptseg.image_files import bundled_image, list_images
from promptseg.images import ImageLimits, open_image, read_image, read_mask
from promptseg.skipped_files import SkippedFile, describe_skipped

# Four flat corners: lossy formats keep them, and turning or flipping moves them.
CORNERS = np.zeros((40, 60, 3), dtype=np.uint8)
CORNERS[:20, :30], CORNERS[:20, 30:], CORNERS[20:, :30], CORNERS[20:, 30:] = (
    (250, 0, 0),
    (0, 250, 0),
    (0, 0, 250),
    (250, 250, 250),
)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def assert_close(image_rgb: np.ndarray, expected: np.ndarray, tolerance: int = 12) -> None:
    assert image_rgb.dtype == np.uint8
    assert image_rgb.shape == expected.shape
    # Lossy formats smear the borders between the corners.
    difference = np.abs(image_rgb.astype(int) - expected.astype(int)).max(axis=2)
    assert np.quantile(difference, 0.8) <= tolerance


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000"])
def test_read_image_takes_every_usual_format(kind: str) -> None:
    assert_close(read_image(encode(Image.fromarray(CORNERS), kind)), CORNERS)


def test_read_image_takes_path_text_bytes_pillow_and_array(tmp_path: Path) -> None:
    path = tmp_path / "corners.png"
    Image.fromarray(CORNERS).save(path)
    for source in (path, str(path), path.read_bytes(), memoryview(path.read_bytes()), Image.open(path), CORNERS):
        np.testing.assert_array_equal(read_image(source), CORNERS)


def test_read_image_copies_arrays() -> None:
    image_rgb = read_image(CORNERS)
    image_rgb[:] = 7
    assert CORNERS.max() == 250


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_image_turns_upright_by_exif(orientation: int, format: str, tmp_path: Path) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = Image.fromarray(CORNERS)
    stored = image.transpose(undo[orientation]) if orientation in undo else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    path.write_bytes(encode(stored, format, exif=exif, **({} if format == "TIFF" else {"quality": 95})))
    assert_close(read_image(path), CORNERS)
    assert_close(read_image(Image.open(path)), CORNERS)
    assert image_problem(path, CORNERS.shape[:2]) is None and image_problem(path, CORNERS.shape[1::-1]) is not None


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_read_image_lays_transparency_over_white(mode: str) -> None:
    clear = Image.new("RGBA", (8, 6), (10, 20, 30, 0))
    opaque = Image.new("RGBA", (8, 6), (90, 90, 90, 255))
    half = Image.new("RGBA", (8, 6), (0, 0, 0, 128))
    assert (read_image(clear.convert("LA").convert(mode)) == 255).all()
    assert (read_image(opaque.convert("LA").convert(mode)) == 90).all()
    assert np.abs(read_image(half.convert("LA").convert(mode)).astype(int) - 127).max() <= 1


def test_read_image_lays_a_transparent_palette_entry_over_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.putpixel((0, 0), 1)
    image_rgb = read_image(encode(image, "PNG", transparency=0))
    assert image_rgb[1, 1].tolist() == [255, 255, 255]
    assert image_rgb[0, 0].tolist() == [0, 200, 0]


def test_read_image_scales_16_bits() -> None:
    gray = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    for data in (encode(Image.fromarray(gray), "PNG"), encode(Image.fromarray(gray), "TIFF")):
        assert read_image(data)[0, :, 0].tolist() == [0, 1, 128, 255]
    pgm = b"P5 4 1 65535\n" + gray.astype(">u2").tobytes()
    assert read_image(pgm)[0, :, 1].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_values_of_fewer_bits_than_16_keep_their_range(bits: int) -> None:
    top = 2**bits - 1
    gray = np.array([[0, top // 2, top]], dtype=np.uint16)
    for source in (gray, encode(Image.fromarray(gray), "PNG"), encode(Image.fromarray(gray), "TIFF")):
        assert np.abs(read_image(source)[0, :, 0].astype(int) - [0, 127, 255]).max() <= 1  # type: ignore[arg-type]
    color = np.dstack([gray, gray[:, ::-1], gray // 2])
    expected = read_image(color[:, :, 0]), read_image(color[:, :, 1])
    image_rgb = read_image(encode_deep(color))
    assert np.abs(image_rgb[:, :, 0].astype(int) - expected[0][:, :, 0]).max() <= 1
    assert np.abs(image_rgb[:, :, 1].astype(int) - expected[1][:, :, 0]).max() <= 1
    opacity = np.array([[[65535], [65535], [0]]], dtype=np.uint16)
    over_white = read_image(encode_deep(np.concatenate([color, opacity], axis=2)))
    assert over_white[0, 2].tolist() == [255, 255, 255]
    assert np.abs(over_white[0, :2].astype(int) - image_rgb[0, :2]).max() <= 1


def test_a_stated_range_is_kept() -> None:
    dark = b"P5 2 1 65535\n" + np.array([0, 1000], dtype=">u2").tobytes()
    assert read_image(dark)[0, :, 0].tolist() == [0, 4]


def encode_deep(values: NDArray[np.uint16]) -> bytes:
    """Encode a PNG of 16 bits a channel in color, which Pillow can't write."""
    height, width, channels = values.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_read_image_converts_gray_bilevel_cmyk_and_ycbcr() -> None:
    assert (read_image(Image.new("L", (3, 2), 77)) == 77).all()
    assert (read_image(Image.new("1", (3, 2), 1)) == 255).all()
    assert_close(read_image(encode(Image.fromarray(CORNERS).convert("CMYK"), "JPEG", quality=95)), CORNERS)
    assert_close(read_image(Image.fromarray(CORNERS).convert("YCbCr")), CORNERS)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_read_image_takes_the_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (20, 10), color) for color in ("red", "blue")]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    red = np.full((10, 20, 3), (255, 0, 0), dtype=np.uint8)
    assert_close(read_image(data), red)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 20000), (20000, 1)])
def test_read_image_takes_extreme_shapes(size_hw: tuple[int, int]) -> None:
    data = encode(Image.new("RGB", size_hw[::-1], "teal"), "PNG")
    assert read_image(data).shape == (*size_hw, 3)


def test_read_image_refuses_what_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_text("not an image at all")
    with pytest.raises(ImageError, match=r"notes\.jpg: not an image"):
        read_image(path)
    with pytest.raises(ImageError, match="<0 bytes>: an empty file"):
        read_image(b"")
    with pytest.raises(ImageError, match=r"gone\.jpg: no such file"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="a folder, not an image"):
        read_image(tmp_path)
    for address in ("https://example.org/cat.jpg", "file:///home/me/cat.jpg", "data:image/png;base64,iVBO", "s3://a/b"):
        with pytest.raises(ImageError, match="addresses are not fetched"):
            read_image(address)
    with pytest.raises(ImageError, match="not int"):
        read_image(7)  # type: ignore[arg-type]


def test_read_image_never_opens_postscript(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not an image"):
        read_image(encode(Image.new("RGB", (4, 4)), "EPS"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "JPEG2000"])
def test_read_image_refuses_truncated_files(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(Image.fromarray(noise), kind)[:1500])
    with pytest.raises(ImageError, match=r"photo\.jpg: (damaged or cut short|not an image)"):
        read_image(path)
    with Image.open(io.BytesIO(encode(Image.fromarray(noise), "JPEG")[:1500])) as lazy:
        with pytest.raises(ImageError, match="damaged or cut short"):
            read_image(lazy)


def test_read_image_survives_random_damage() -> None:
    """Whatever bytes are broken, the only error is ImageError."""
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        whole = encode(Image.fromarray(CORNERS), kind)
        for _ in range(60):
            damaged = bytearray(whole)
            for position in rng.integers(0, min(len(whole), 200), size=3):
                damaged[position] = rng.integers(256)
            try:
                assert read_image(bytes(damaged)).shape[2] == 3
            except ImageError as error:
                assert "bytes>" in str(error)


def test_read_image_refuses_decompression_bombs() -> None:
    # 400 megapixels of nothing are a small file.
    bomb = b"P4 20000 20000\n" + b"\0" * 64
    with pytest.raises(ImageError, match=r"20000x20000 = 400,000,000 pixels; the limit is 89,478,485"):
        read_image(bomb)
    with pytest.raises(ImageError, match=r"10000x10000 = 100,000,000 pixels; the limit is 89,478,485"):
        read_image(b"P4 10000 10000\n" + b"\0" * 64)


@pytest.mark.filterwarnings("error")
def test_what_the_limits_allow_is_opened_without_a_warning() -> None:
    with open_image(io.BytesIO(b"P4 10000 17000\n")) as image:
        assert (image.format, image.size) == ("PPM", (10_000, 17_000))
    for nothing in (b"", b"%PDF-1.7", b"\0" * 64):
        with pytest.raises(UnidentifiedImageError):
            open_image(io.BytesIO(nothing))


def test_read_image_keeps_to_the_limits(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"40x60 = 2,400 pixels; the limit is 2,399"):
        read_image(CORNERS, limits=ImageLimits(max_pixels=2399))
    data = encode(Image.fromarray(CORNERS), "PNG")
    (tmp_path / "corners.png").write_bytes(data)
    for source in (data, tmp_path / "corners.png"):
        with pytest.raises(ImageError, match="bytes; the limit is 99"):
            read_image(source, limits=ImageLimits(max_bytes=99))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3), dtype=np.float32), "multiply values in"),
        (np.zeros((4, 4, 3), dtype=np.int64), "uint8 or uint16$"),
        (np.zeros((4, 4), dtype=bool), "uint8 or uint16$"),
        (np.zeros((4,), dtype=np.uint8), r"the shape \(H, W, 3\)"),
        (np.zeros((3, 4, 5), dtype=np.uint8), "transpose"),
        (np.zeros((4, 4, 2), dtype=np.uint8), r"\(H, W, 3\), \(H, W, 4\) or \(H, W\)$"),
        (np.zeros((4, 5, 8), dtype=np.uint16), r"choose red, green and blue of its 8 bands, .* \[2, 1, 0\]\]$"),
        (np.zeros((2, 4, 5, 3), dtype=np.uint8), "give the images of a batch one by one$"),
        (np.zeros((0, 4, 3), dtype=np.uint8), "nothing to see"),
        (np.zeros((0, 4), dtype=np.uint16), "nothing to see"),
    ],
)
def test_read_image_says_what_an_array_must_be(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(array)


def test_other_pages_of_a_tiff_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (6, 4), "red"), Image.new("RGB", (6, 4), "blue")
    path = tmp_path / "scan.tif"
    first.save(path, save_all=True, append_images=[second])
    with pytest.warns(ImageWarning, match=r"scan\.tif: has several pages, and only the first is read"):
        assert read_image(path)[0, 0].tolist() == [255, 0, 0]
    with Image.open(path) as page:
        page.seek(1)
        assert read_image(page)[0, 0].tolist() == [0, 0, 255]
    # the smaller copies of a GeoTIFF are no pages
    smaller = TiffImagePlugin.ImageFileDirectory_v2()
    smaller[254] = 1
    second.encoderinfo = {"tiffinfo": smaller}
    first.save(path, save_all=True, append_images=[second])
    assert read_image(path)[0, 0].tolist() == [255, 0, 0]


def test_a_gray_array_may_have_its_channel() -> None:
    gray = np.arange(20, dtype=np.uint8).reshape(4, 5)
    np.testing.assert_array_equal(read_image(gray[:, :, None]), read_image(gray))


def test_a_tiff_of_many_bands_is_refused_with_the_way_out(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "satellite.tif"
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(path, "w", driver="GTiff", width=6, height=4, count=8, dtype="uint16") as file,
    ):
        file.write(np.zeros((8, 4, 6), dtype=np.uint16))
    with pytest.raises(ImageError, match=r"satellite\.tif: a TIFF of a kind that can't be read: .*gdal_translate"):
        read_image(path)


@pytest.mark.parametrize("kind", ["L", "RGB", "RGBA", "I;16"])
def test_read_image_reads_an_array_and_a_pillow_image_as_the_file(kind: str) -> None:
    generator = np.random.default_rng(0)
    dtype, channels = (np.uint16, ()) if kind == "I;16" else (np.uint8, (len(kind),) if len(kind) > 1 else ())
    array = generator.integers(0, np.iinfo(dtype).max + 1, (9, 7, *channels), dtype=dtype)
    image = Image.fromarray(array)
    assert image.mode == kind
    expected = read_image(encode(image, "PNG"))
    np.testing.assert_array_equal(read_image(array), expected)
    np.testing.assert_array_equal(read_image(image), expected)
    assert expected.shape == (9, 7, 3)


def test_read_image_reads_open_files(tmp_path: Path) -> None:
    data = encode(Image.fromarray(CORNERS), "PNG")
    path = tmp_path / "corners.png"
    path.write_bytes(data)
    stream = io.BytesIO(data)
    np.testing.assert_array_equal(read_image(stream), CORNERS)
    with pytest.raises(ImageError, match=r"nothing to read here; .*seek\(0\)"):
        read_image(stream)
    with path.open("rb") as file:
        np.testing.assert_array_equal(read_image(file), CORNERS)
    with pytest.raises(ImageError, match=r"corners\.png: can't be read: .*closed"):
        read_image(file)
    with path.open(encoding="latin-1") as text, pytest.raises(ImageError, match=r'corners\.png: .*mode "rb"'):
        read_image(text)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="bytes; the limit is 99"):
        read_image(io.BytesIO(data), limits=ImageLimits(max_bytes=99))
    white = Image.fromarray(np.full((3, 4), 255, np.uint8))
    assert read_mask(io.BytesIO(encode(white, "PNG"))).all()


def test_a_tensor_is_refused_with_the_way_to_an_array() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(ImageError, match=r"no torch tensor: .*permute\(1, 2, 0\)\.cpu\(\)\.numpy\(\)"):
        read_image(torch.zeros(3, 4, 5))


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "corners.png").write_bytes(encode(Image.fromarray(CORNERS), "PNG"))
    np.testing.assert_array_equal(read_image("~/corners.png"), CORNERS)
    assert list_images(["~/*.png", "~"]) == [tmp_path / "corners.png"]


def test_bundled_images_are_there_and_others_are_named() -> None:
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        assert read_image(bundled_image(name)).ndim == 3
    with pytest.raises(ImageError, match="named 'cat'; there are astronaut, chelsea, coffee, rocket"):
        bundled_image("cat")


def test_read_image_refuses_values_without_a_range() -> None:
    with pytest.raises(ImageError, match="floating-point values have no known range"):
        read_image(encode(Image.fromarray(np.ones((3, 3), dtype=np.float32)), "TIFF"))
    with pytest.raises(ImageError, match="32-bit values"):
        read_image(Image.fromarray(np.ones((3, 3), dtype=np.int32)))


def test_list_images_expands_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "._a.png", "notes.txt", "sub/c.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_images([tmp_path]) == [tmp_path / "a.png", tmp_path / "b.JPG"]
    assert list_images([tmp_path / "**" / "*.webp"]) == [tmp_path / "sub/c.webp"]
    missing = tmp_path / "gone.jpg"
    assert list_images([missing, tmp_path / "a.png", tmp_path]) == [missing, tmp_path / "a.png", tmp_path / "b.JPG"]


def test_what_is_passed_over_is_handed_out_with_the_reason(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jfif", "c.JPE", "d.psd", "notes.txt", ".hidden.png", "sub/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "moved.jpg").symlink_to(tmp_path / "nowhere.jpg")
    skipped: list[SkippedFile] = []
    images = list_images([tmp_path], skipped=skipped)
    assert [path.name for path in images] == ["a.jpg", "b.jfif", "c.JPE"]
    reasons = {each.path.name: each.reason for each in skipped}
    assert reasons.keys() == {"d.psd", "notes.txt", ".hidden.png", "sub", "moved.jpg"}
    assert "save it as PNG" in reasons["d.psd"] and reasons["moved.jpg"] == "a broken link"
    lines = list(describe_skipped(skipped))
    assert len(lines) == 5 and lines[-1] == "passed over: 1 hidden"
    many = [SkippedFile(Path(f"{number}.txt"), "not an image") for number in range(500)]
    assert list(describe_skipped(many))[20:] == ["passed over: 480 more"]


def test_a_folder_of_other_files_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.cr2").touch()
    with pytest.raises(
        ImageError, match=r"no image in this folder .*passed over: .*a\.cr2 .*raw data: save it as JPEG"
    ):
        list_images([tmp_path])


def test_list_images_takes_names_with_brackets_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "cat[1].jpg"
    path.touch()
    assert list_images([path]) == [path]


def test_list_images_refuses_folders_and_patterns_without_an_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no image in this folder"):
        list_images([tmp_path])
    with pytest.raises(ImageError, match="no image matches"):
        list_images([tmp_path / "*.jpg"])


INSIDE = np.zeros((40, 60), dtype=bool)
INSIDE[8:32, 16:40] = True


def mask_images() -> dict[str, Image.Image]:
    gray = np.where(INSIDE, 200, 40).astype(np.uint8)
    palette = Image.fromarray(INSIDE.astype(np.uint8) * 3, mode="P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 9, 9, 9])
    cut_out = Image.fromarray(np.dstack([np.full((40, 60, 3), 90, np.uint8), INSIDE.astype(np.uint8) * 255]))
    return {
        "one bit": Image.fromarray(INSIDE),
        "0 and 1": Image.fromarray(INSIDE.astype(np.uint8)),
        "gray": Image.fromarray(gray),
        "RGB": Image.fromarray(gray).convert("RGB"),
        "opaque RGBA": Image.fromarray(gray).convert("RGBA"),
        "palette": palette,
        "cut-out": cut_out,
    }


@pytest.mark.parametrize("kind", mask_images())
def test_read_mask_takes_every_usual_kind(kind: str) -> None:
    mask = read_mask(encode(mask_images()[kind], "PNG"))
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, INSIDE)


def test_read_mask_takes_arrays_and_turns_upright() -> None:
    for array in (INSIDE, INSIDE.astype(np.uint8), INSIDE.astype(np.uint8) * 255):
        np.testing.assert_array_equal(read_mask(array), INSIDE)
    assert not read_mask(np.zeros((2, 2), dtype=np.uint8)).any()
    turned = Image.fromarray(np.where(INSIDE, 255, 0).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(read_mask(encode(turned, "PNG", exif=exif)), np.rot90(INSIDE, -1))


def test_read_mask_refuses_what_is_none() -> None:
    for array in (CORNERS, INSIDE.astype(np.float32), np.zeros((0, 3), dtype=bool)):
        with pytest.raises(ImageError, match="a mask is bool or uint8"):
            read_mask(array)
    with pytest.raises(ImageError, match="not an image"):
        read_mask(b"no image")
    with pytest.raises(ImageError, match="no such file"):
        read_mask("missing.png")
