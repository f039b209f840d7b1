"""HEIC images: read where the optional package is installed, else refused with the way to install it."""

import base64
from pathlib import Path

import numpy as np
import pytest

from promptseg import read_image
from promptseg.errors import ImageError
from promptseg.image_files import list_images
from promptseg.images import DEFAULT_LIMITS, ImageLimits
from promptseg.skipped_files import explain_skip

# 64 x 48 pixels, red on the left, blue on the right, green in the upper left corner; stored to be turned by a quarter.
PHOTO = base64.b85decode(
    "0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<0005VZDn*}000000000XXk=`10000000000aA{+700000000000000000000G-"
    "+&aV*mgE07O6l0ssL300001>;M4(00000004{t0ssI200MXb0RR9100000Bme*aIB98aW&i*H00062000$fZf0cy000000RRAKc4ILB0000LX>"
    "Mj^0ssI300IC2MR;ju000004sdC7Z2$lO00031009SSaB^?}008D`aAR)(004Gqc4I>U18@KU0FVFx0000U@BsY%`1k+-"
    "4+CHT0RR|40Sp2E{{wIU00RJ!0009300RIXx&lC90096hLID8-"
    "Z~y=U0FVFx0{{R603M(qfd!W8<fgf}2xu@M00096AOHXZ03l)k0RRR>0l{;?i2wiq6Ju{|a&BX6cmM$a4FCp!0000KX>)L8000000000$0000$"
    "0000eV{Bn?0000$000010000m000010000000002|NsB+000020000GaA|mH000000|*ER00009X>xCL0{{R38EJ5BVE_OC000000RRC8fdT^s"
    "goXeB02*m>Wo7^X0000001jhhb7KGk009620002EZDe6|0001pC;_ht;2}9Q9ztKg|JlTU|AU!tU;QBKcfd_I{#QZ1fA>ug9!&S&>YZx-Xixv@"
    "bq7DSk6ZsPoBbdhlj}m;4@0S&#CHCvr>rDvVVC1UJ5(Y=#w@RbDvvw2isTqgU5{|Q&THs^U>+#+hR3|(IFR?}d!s}6&8?^3g#It^ILj@Q?or$b"
    "00006MR;ju002!*04e|g00;m90TKWM0000100sa600000"
)


def test_a_photo_of_a_phone_is_read_upright(tmp_path: Path) -> None:
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(PHOTO)
    assert list_images([tmp_path]) == [path]
    for source in (path, PHOTO):
        image_rgb = read_image(source)
        assert image_rgb.shape == (64, 48, 3)
        for (row, column), color in (((4, 44), (30, 200, 30)), ((4, 10), (200, 30, 30)), ((60, 20), (30, 30, 200))):
            assert np.abs(image_rgb[row, column].astype(int) - color).max() < 25


def test_damage_and_limits_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    for end in (20, 100, 300, 500, 600):
        path.write_bytes(PHOTO[:end])
        with pytest.raises(ImageError, match=r"a\.heic: damaged or cut short"):
            read_image(path)
    with pytest.raises(ImageError, match="the limit is 100"):
        read_image(PHOTO, limits=ImageLimits(100, DEFAULT_LIMITS.max_bytes))


def test_without_the_package_the_error_is_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptseg.images.can_read_heic", lambda: False)
    path = tmp_path / "a.heic"
    path.write_bytes(PHOTO)
    with pytest.raises(ImageError, match=r"a HEIC image, .*pip install 'promptseg\[heic\]'; or save it as JPEG"):
        read_image(path)
    assert explain_skip(path).reason == "can't be read: pip install 'promptseg[heic]', or save it as JPEG"
