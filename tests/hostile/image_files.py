"""500 hostile image files: damaged, lying, endless, oddly named, or no files at all."""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from damage import cut_places, flip_bits
from hostile_case import NOTICED, REFUSED, SAME, UNNOTICEABLE, Case, Outcome
from PIL import Image, features

NUM_CASES = 500
_SIZE_HW = (37, 53)
_NUM_CUTS = 20


def write_image_cases(root: Path, *, seed: int = 0) -> list[Case]:
    """Write the corpus below `root`; return its cases."""
    rng = np.random.default_rng(seed)
    originals = {name: encode() for name, encode in _encoders(rng).items()}
    (root / "originals").mkdir(parents=True)
    (root / "images").mkdir()
    for name, content in originals.items():
        (root / "originals" / name).write_bytes(content)
    cases = [
        _write(root, f"{number:03d}-{kind}{suffix}", content, damage, allowed, original)
        for number, (kind, suffix, content, damage, allowed, original) in enumerate(
            (*_truncated(originals), *_lying(originals), *_swollen(), *_misnamed(originals), *_metadata(rng))
        )
    ]
    cases += _oddly_named(root, originals["rgb.png"])
    cases += _no_files(root)
    cases += _flipped(root, originals, rng, num_cases=NUM_CASES - len(cases))
    return cases


_Content = tuple[str, str, bytes, str, tuple[Outcome, ...], str]


def _write(
    root: Path, name: str, content: bytes, damage: str, allowed: tuple[Outcome, ...], original: str = ""
) -> Case:
    (root / "images" / name).write_bytes(content)
    return Case(f"images/{name}", "image", damage, allowed, original and f"originals/{original}")


def _encoders(rng: np.random.Generator) -> dict[str, Callable[[], bytes]]:
    """Every kind of image that is read, by file name."""
    ramp = np.add.outer(np.arange(_SIZE_HW[0]), 2 * np.arange(_SIZE_HW[1]))[..., None] * np.array([1, 2, 3])
    pixels = ((ramp + rng.integers(0, 40, (*_SIZE_HW, 3))) % 256).astype(np.uint8)
    photo = Image.fromarray(pixels)
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    encoders = {
        "baseline.jpg": partial(_encode, photo, "JPEG"),
        "progressive.jpg": partial(_encode, photo, "JPEG", progressive=True),
        "cmyk.jpg": partial(_encode, photo.convert("CMYK"), "JPEG"),
        "rgb.png": partial(_encode, photo, "PNG"),
        "rgba.png": partial(_encode, photo.convert("RGBA"), "PNG"),
        "palette.png": partial(_encode, photo.convert("P"), "PNG"),
        "deep.png": partial(_encode, deep, "PNG"),
        "lossy.webp": partial(_encode, photo, "WEBP"),
        "lossless.webp": partial(_encode, photo, "WEBP", lossless=True),
        "palette.gif": partial(_encode, photo.convert("P"), "GIF"),
        "raw.tif": partial(_encode, photo, "TIFF"),
        "lzw.tif": partial(_encode, photo, "TIFF", compression="tiff_lzw"),
        "deflate.tif": partial(_encode, photo, "TIFF", compression="tiff_deflate"),
        "rgb.bmp": partial(_encode, photo, "BMP"),
        "rgb.ppm": partial(_encode, photo, "PPM"),
        "lossless.jp2": partial(_encode, photo, "JPEG2000"),
    }
    if features.check("avif"):
        encoders["lossy.avif"] = partial(_encode, photo, "AVIF")
    return encoders


def _encode(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _truncated(originals: dict[str, bytes]) -> Iterator[_Content]:
    for name, content in originals.items():
        stem, _, suffix = name.partition(".")
        for place in cut_places(len(content), _NUM_CUTS):
            yield f"cut-{stem}", f".{suffix}", content[:place], f"cut after {place} bytes", NOTICED, name


def _flipped(root: Path, originals: dict[str, bytes], rng: np.random.Generator, *, num_cases: int) -> Iterator[Case]:
    names = sorted(originals)
    for index in range(num_cases):
        name = names[index % len(names)]
        # PNG has checksums; in the other formats some bits are just another image.
        allowed = NOTICED if name.endswith(".png") else UNNOTICEABLE
        content = flip_bits(originals[name], rng, num_bits=1 + index % 3)
        stem, _, suffix = name.partition(".")
        yield _write(root, f"flip-{index:03d}-{stem}.{suffix}", content, "bits turned over", allowed, name)


def _png(*chunks: tuple[bytes, bytes], header: tuple[int, ...] = (4, 4, 8, 2, 0, 0, 0)) -> bytes:
    """Build a PNG of chunks (name, data) after a header of width, height, bits, color and three zeros."""
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", struct.pack(">IIBBBBB", *header)), *chunks, (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return content


_PIXELS = (b"IDAT", zlib.compress(b"\0" * 13 * 4))


def _lying(originals: dict[str, bytes]) -> Iterator[_Content]:
    """Headers that state an enormous size, and bombs that hold what they state."""
    zeros = zlib.compress(bytes(50_000_000), 9)
    sides = ((60_000, 60_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (1, 2**31 - 1), (14_000, 14_000))
    for width, height in sides:
        content = _png((b"IDAT", zeros), header=(width, height, 8, 2, 0, 0, 0))
        yield "bomb", ".png", content, f"states {width}x{height} pixels", REFUSED, ""
    yield "bomb-gray", ".png", _png((b"IDAT", zeros), header=(99_999, 99_999, 1, 0, 0, 0, 0)), "one bit", REFUSED, ""
    yield "empty", ".png", _png(_PIXELS, header=(0, 0, 8, 2, 0, 0, 0)), "states 0x0 pixels", REFUSED, ""
    blank = Image.new("L", (16_383, 5_500))
    yield (
        "bomb",
        ".webp",
        _encode(blank.convert("RGB"), "WEBP", lossless=True, method=0),
        "90 million pixels",
        REFUSED,
        "",
    )
    yield "bomb", ".tif", _encode(blank, "TIFF", compression="tiff_lzw"), "90 million pixels", REFUSED, ""
    yield "bomb-16", ".gif", _patched(originals["palette.gif"], 6, b"\xff\xff\xff\xff"), "canvas of 65535", REFUSED, ""
    yield "bomb", ".bmp", _patched(originals["rgb.bmp"], 18, struct.pack("<ii", 10**6, 10**6)), "10^12", REFUSED, ""
    yield "bomb-negative", ".bmp", _patched(originals["rgb.bmp"], 18, struct.pack("<i", -5)), "width -5", REFUSED, ""
    yield "bomb", ".ppm", b"P6\n1000000 1000000\n255\n" + bytes(99), "states 10^12 pixels", REFUSED, ""
    yield "bomb-max", ".ppm", b"P6\n4 4\n99999999999999999999\n" + bytes(99), "white is 10^20", REFUSED, ""
    yield "bomb-digits", ".pgm", b"P5\n" + b"9" * 100_000 + b" 4\n255\n", "a width of 100,000 digits", REFUSED, ""
    jpeg = originals["baseline.jpg"]
    frame = jpeg.index(b"\xff\xc0")
    yield "bomb", ".jpg", _patched(jpeg, frame + 5, b"\xff\xdc\xff\xdc"), "65500x65500", REFUSED, ""
    yield "no-size", ".jpg", _patched(jpeg, frame + 5, bytes(4)), "0x0", REFUSED, ""
    jp2 = originals["lossless.jp2"]
    box = jp2.index(b"ihdr")
    yield (
        "bomb",
        ".jp2",
        _patched(jp2, box + 4, struct.pack(">II", 2**31, 2**31)),
        "2^62 pixels",
        NOTICED,
        "lossless.jp2",
    )


def _patched(content: bytes, place: int, patch: bytes) -> bytes:
    return content[:place] + patch + content[place + len(patch) :]


def _swollen() -> Iterator[_Content]:
    """Small images with an endless animation, or with more text than pixels."""
    text = bytes(100_000_000)
    squeezed = zlib.compress(text, 9)
    yield "text", ".png", _png((b"tEXt", b"Comment\0" + b"x" * 20_000_000), _PIXELS), "20 MB of text", UNNOTICEABLE, ""
    yield "text-bomb", ".png", _png((b"zTXt", b"Comment\0\0" + squeezed), _PIXELS), "100 MB of text", UNNOTICEABLE, ""
    international = b"Comment\0\1\0\0\0" + squeezed
    yield "text-bomb", ".png", _png((b"iTXt", international), _PIXELS), "100 MB of text", UNNOTICEABLE, ""
    yield "icc-bomb", ".png", _png((b"iCCP", b"icc\0\0" + squeezed), _PIXELS), "a profile of 100 MB", UNNOTICEABLE, ""
    many = [(b"tEXt", b"Comment\0x")] * 100_000
    yield "many-texts", ".png", _png(*many, _PIXELS), "100,000 texts", UNNOTICEABLE, ""
    yield "more-pixels", ".png", _png((b"IDAT", squeezed)), "100 MB of pixels for 4x4", UNNOTICEABLE, ""
    frames = [Image.new("P", (8, 8), index % 2) for index in range(3_000)]
    gif = _encode(frames[0], "GIF", save_all=True, append_images=frames[1:], loop=0, duration=10)
    yield "endless", ".gif", gif, "3,000 frames, forever", UNNOTICEABLE, ""
    yield "endless-cut", ".gif", gif[:-7], "the last frame is cut", UNNOTICEABLE, ""
    small = [Image.new("RGB", (8, 8), (index % 256, 0, 0)) for index in range(300)]
    for format, suffix in (("WEBP", ".webp"), ("PNG", ".png")):
        animation = _encode(small[0], format, save_all=True, append_images=small[1:], loop=0, duration=10)
        yield "endless", suffix, animation, "300 frames, forever", UNNOTICEABLE, ""
    yield "frames", ".png", _png((b"acTL", struct.pack(">II", 2**31 - 1, 0)), _PIXELS), "2^31 frames", UNNOTICEABLE, ""
    pages = [Image.new("L", (8, 8), index % 256) for index in range(300)]
    tiff = _encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    yield "pages", ".tif", tiff, "300 pages", UNNOTICEABLE, ""
    place = struct.unpack("<I", tiff[4:8])[0]
    count = struct.unpack("<H", tiff[place : place + 2])[0]
    loop = _patched(tiff, place + 2 + 12 * count, struct.pack("<I", place))
    yield "page-loop", ".tif", loop, "the first page follows itself", UNNOTICEABLE, ""
    plain = _encode(Image.new("RGB", (8, 8)), "JPEG")
    comments = (b"\xff\xfe\xff\xff" + b"c" * 65_533) * 300
    yield "comments", ".jpg", plain[:2] + comments + plain[2:], "20 MB of comments", UNNOTICEABLE, ""
    yield "tail", ".jpg", plain + bytes(5_000_000), "5 MB after the end", UNNOTICEABLE, ""


def _misnamed(originals: dict[str, bytes]) -> Iterator[_Content]:
    """Files that are something else than their name says."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bomb:
        for index in range(10):
            bomb.writestr(f"{index}.png", bytes(10_000_000))
    others = {
        "zip-bomb": archive.getvalue(),
        "nothing": b"",
        "byte": b"\x89",
        "zeros": bytes(10_000),
        "text": b"not an image\n" * 100,
        "html": b"<!doctype html><title>404</title>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "program": b"\x7fELF" + bytes(500),
        "pickle": b"cos\nsystem\n(S'touch hacked'\ntR.",
        "pdf": b"%PDF-1.7\n" + bytes(200),
        "heic": bytes(3) + b"\x18ftypheic" + bytes(200),
        "signature": b"\x89PNG\r\n\x1a\n",
        "mode-line": b"\xff\xd8\xff",
        "riff": b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff" + bytes(99),
        "tiff-loop": b"II*\0\x08\0\0\0\xff\xff" + bytes(300),
    }
    for kind, content in others.items():
        for suffix in (".png", ".jpg"):
            yield kind, suffix, content, f"a file of the kind {kind}", REFUSED, ""
    # A wrong suffix is no lie about the content.
    for name in ("baseline.jpg", "rgb.png", "lossless.webp", "rgb.bmp"):
        suffix = ".gif" if name != "palette.gif" else ".png"
        yield "renamed", suffix, originals[name], f"{name} under another suffix", SAME, name


def _metadata(rng: np.random.Generator) -> Iterator[_Content]:
    """EXIF and color profiles that are malformed: what they say is not needed, or the image is refused."""
    plain = Image.new("RGB", (24, 16), (90, 120, 150))
    good = Image.Exif()
    good[0x0112] = 6
    good[0x010E] = "description"
    exif = good.tobytes()
    loop = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"
    many = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(60_000)
    large = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\xff\x06\0\0\0\0\0\0\0"
    text = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0abc\0\0\0\0\0"
    outside = b"Exif\0\0II*\0\xf0\xff\xff\xff"
    blocks = [loop, many, large, text, outside, b"Exif\0\0", b"", b"Exif\0\0XX*\0", rng.bytes(500)]
    blocks += [exif[:place] for place in cut_places(len(exif), 6)]
    for block in blocks:
        for format, suffix in (("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp")):
            yield "exif", suffix, _encode(plain, format, exif=block), f"EXIF of {len(block)} bytes", UNNOTICEABLE, ""
    for profile in (rng.bytes(300), b"\xff" * 128, struct.pack(">I", 2**31) + bytes(128), bytes(200_000)):
        for format, suffix in (("JPEG", ".jpg"), ("PNG", ".png")):
            content = _encode(plain, format, icc_profile=profile)
            yield "icc", suffix, content, f"a profile of {len(profile)} bytes", UNNOTICEABLE, ""


def _oddly_named(root: Path, content: bytes) -> Iterator[Case]:
    """A good image under names that shells, terminals and patterns stumble over."""
    names: list[bytes] = [
        b"new\nline.png", b"error: nothing\n.png", b"tab\there.png", b"bell\x07.png", b"\x1b[31mred.png",
        b" space .png", b"-h.png", b"--help.png", b"*.png", b"[a-z].png", b"?.png", b"quote'\".png",
        b"$(touch hacked).png",
        b"back\\slash.png", "\u202egnp.exe.png".encode(), "\u732b.png".encode(), "e\u0301.png".encode(),
        b"not-\xff\xfe-utf8.png", b"UPPER.PNG", b"x" * 250 + b".png", b"colon:mask.png", b"100%.png", b"..png.png",
    ]  # fmt: skip
    for name in names:
        path = os.fsencode(root / "images") + b"/" + name
        with open(path, "wb") as file:  # noqa: PTH123 (a name that is no text)
            file.write(content)
        yield Case(f"images/{os.fsdecode(name)}", "image", "an odd name", SAME, "originals/rgb.png")


def _no_files(root: Path) -> Iterator[Case]:
    """What can have the name of an image without being a file."""
    folder = root / "images"
    (folder / "loop-a.png").symlink_to("loop-b.png")
    (folder / "loop-b.png").symlink_to("loop-a.png")
    (folder / "broken.png").symlink_to("nowhere.png")
    (folder / "folder.png").mkdir()
    (folder / "zeros.png").symlink_to("/dev/zero")
    (folder / "terminal.png").symlink_to("/dev/tty")
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "pipe.jpg")
    for name in ("loop-a", "loop-b", "broken", "folder", "zeros", "terminal", "pipe"):
        yield Case(f"images/{name}.png", "image", "no plain file", REFUSED)
    yield Case("images/pipe.jpg", "mask", "no plain file", REFUSED)
    yield Case("images/nul\0byte.png", "image", "a name that no file has", REFUSED)
    yield Case("images/" + "long/" * 2_000 + "x.png", "image", "a path that is too long", REFUSED)
