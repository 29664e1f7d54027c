"""The flags that several commands share, and the types of their values."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes

from mmret_lib.cli.help import join_lines_of_fields
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import user_path
from mmret_lib.training.config import TrainConfig


@dataclass(frozen=True)
class ReadingFlags:
    """How a data set is read; the options of `load_pairs`, and `max_unreadable` of `pack`."""

    captions: Path | None = None
    """captions of your own photos (--data folder): CSV, TSV or JSON lines with named columns"""
    image_column: str | None = None
    """the column of photo paths, where it has no usual name (image, filepath, file_name ...)"""
    caption_column: str | None = None
    """the column of captions, where it has no usual name (caption, title, text ...)"""
    split_column: str | None = None
    """the column that says which split a row is in, where it is not called split"""
    images: str | None = None
    """the folder of the photos of coco, flickr8k or flickr30k, where it is not found in the root
    folder; for your own photos, --root names it. For mmret data coco also how many photos to fetch,
    such as 20000"""
    max_missing: float | None = None
    """share of photos whose file may be missing, and of captions that may be empty, by default
    0.01; more are an error"""
    max_unreadable: float | None = None
    """share of photos that may be unreadable, by default 0.01; more are an error"""

    def options(self, data: str, root: Path | None) -> dict[str, Any]:
        """What `load_pairs` needs besides root and split; paths are made absolute."""
        given = {name: value for name in TAKEN_BY if (value := getattr(self, name)) is not None}
        for name in given:
            if data not in TAKEN_BY[name]:
                sets = " or ".join(TAKEN_BY[name])
                raise DataError(
                    f"--{name.replace('_', '-')} is for --data {sets}, not for {data}"
                    + ("; name the folder of your own photos by --root" if name == "images" else "")
                )
        if self.captions is not None:
            given["captions"] = _place(self.captions, root)
        if self.images is not None:
            if self.images.isdecimal():
                raise DataError(
                    f"--images {self.images} is a number; give the folder of the photos (if it is "
                    f"called so, ./{self.images})"
                )
            given["images"] = _place(user_path(self.images), root)
        return given


# The options of `load_pairs` among the flags, and the data sets whose readers take them.
TAKEN_BY = {
    **dict.fromkeys(("captions", "image_column", "caption_column", "split_column"), ("folder",)),
    "images": ("coco", "flickr8k", "flickr30k"),
    "max_missing": ("coco", "flickr8k", "flickr30k", "folder", "vsepp"),
}


def _place(path: Path, root: Path | None) -> str:
    """The absolute path of a file or folder, which may also be given relative to root."""
    return str((path if root is None or path.exists() else root / path).absolute())


@dataclass(frozen=True)
class BackboneFlags:
    """The two backbones; the options of `build_model`."""

    image_backbone: str = "mini"
    """mini (small, for the drawn scenes), pocket (small, pretrained on photos; comes with mmret),
    resnet18, resnet34, resnet50, or timm/NAME for any image model of timm, such as
    timm/vit_small_patch16_224.augreg_in21k_ft_in1k"""
    image_weights: str = "auto"
    """what the image backbone starts from: auto (pretrained, but random for mini on photos), none
    (random), mini, pocket, imagenet (ResNets), pretrained (timm's), or a safetensors file or a
    folder with one"""
    image_size: int | None = None
    """side, in pixels, of the square to which photos are decoded; by default what suits the
    backbone"""
    text_backbone: str = "mini"
    """mini (small, for captions of the drawn scenes), pocket (small, pretrained on captions of
    photos; comes with mmret), or any BERT-family or sentence-transformers model by its hub name or
    folder, such as distilbert-base-uncased"""
    text_weights: str = "auto"
    """what the text backbone starts from: auto (pretrained, but random for mini on photos), none
    (random), mini, pocket, or pretrained (the model's own)"""
    pooling: Literal["auto", "first", "mean", "max"] = "auto"
    """how the vectors of a caption's tokens become one: first takes that of the first token, mean
    and max are over all tokens; auto does what the model's own 1_Pooling/config.json says, and
    without that file takes the first"""
    max_length: int = 64
    """longest caption in tokens, with the two special ones at its ends; longer ones are cut off"""

    def settings(self) -> dict[str, Any]:
        """What `build_model` takes."""
        weights = {n: text_or_none(getattr(self, n)) for n in ("image_weights", "text_weights")}
        return {f.name: getattr(self, f.name) for f in fields(self)} | weights

    def flags(self) -> str:
        """The flags of a command that builds the same backbones."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return "".join(
            f" --{name.replace('_', '-')} {value}"
            for name, value in given.items()
            if value != getattr(DEFAULT_BACKBONES, name)
        )


@dataclass(frozen=True)
class TrainFlags(TrainConfig):
    """`TrainConfig` with one flag of another name, because `--captions` names a file."""

    captions: Annotated[Literal["random", "first", "all"], tyro.conf.arg(name="epoch-captions")] = (
        "random"
    )

    def __post_init__(self) -> None:
        """Check nothing yet: the parser would name its own parts; commands call `check_flags`."""

    def check_flags(self) -> None:
        """Raise DataError, which names the flag, for a value out of its range."""
        self.check(flags=True)


for kind in (ReadingFlags, BackboneFlags, TrainConfig):
    join_lines_of_fields(kind)

Config = OmitArgPrefixes[TrainFlags]
Reading = OmitArgPrefixes[ReadingFlags]
NOT_GIVEN = ReadingFlags()
Backbones = OmitArgPrefixes[BackboneFlags]
DEFAULT_BACKBONES = BackboneFlags()
DEFAULT = TrainFlags()
DataName = Literal["scenes", "album", "coco", "flickr8k", "flickr30k", "vsepp", "folder"]
Backend = Literal["exact", "flat", "hnsw", "ivf", "milvus"]

types = tyro.constructors.ConstructorRegistry()


@types.primitive_rule
def _path(
    wanted: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[Path] | None:
    """Every path may begin with ~: a shell does not replace it in `--root=~/photos`."""
    if wanted.type is not Path:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda given: user_path(given[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda path: [str(path)],
    )


def text_or_none(value: str) -> str | None:
    """None where a flag says "none"."""
    return None if value.lower() == "none" else value
