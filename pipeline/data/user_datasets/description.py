"""What a user says of a data set of their own: a YAML file of a few lines, checked field by field.

Folders are absolute, begin with ``~``, or are relative to the YAML file. A field that is wrong is named with the file,
what was expected and what was got.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.data.splits import ImagesConfig
from pipeline.errors import ConfigError
from pipeline.forms import FORMS

LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""What classes and lesions may be called: their names become folder names."""
SIDES = (32, 256, 16)
"""Training sizes in px: smallest, largest, step (the networks halve a side up to four times)."""
DEALT = ("val", "holdout")
"""Splits that ``by: folder`` may leave open; they are dealt out of the training folder."""


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _named(usual: str) -> BeforeValidator:
    """A mapping name → folders; a folder without a name gets the usual one."""
    return BeforeValidator(lambda value: value if isinstance(value, dict) else {usual: value})


Folders = Annotated[tuple[Path, ...], BeforeValidator(_listed), Field(min_length=1)]
Classes = Annotated[dict[str, Folders], _named("abnormal"), Field(min_length=1)]
Lesions = Annotated[dict[str, Folders], _named("lesion")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(_Part):
    """Who learns from which normal; abnormal images are all test."""

    by: Literal["duplicates", "patient", "folder"] = "duplicates"
    patient: str = ""  # regular expression with one group, searched in the path below the folder: the patient's id
    folders: dict[Literal["train", "val", "holdout", "test"], Folders] = Field(default_factory=dict)  # below `normal`
    look_alikes: bool | None = None  # near-duplicates stay together too; None: yes, but for `by: patient`
    middle: float = Field(default=1.0, gt=0, le=1)  # share of each side in which near-duplicates are looked for

    @field_validator("patient")
    @classmethod
    def _one_group(cls, value: str) -> str:
        try:
            groups = re.compile(value).groups if value else 1
        except re.error as error:
            raise ValueError(f"expected a regular expression ({error})") from error
        if groups != 1:
            raise ValueError(f"expected a regular expression with one group in brackets, it has {groups}")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.by == "patient" and not self.patient:
            raise ValueError("expected `patient`, a regular expression with one group, beside `by: patient`")
        if self.by == "duplicates" and self.patient:
            raise ValueError("expected `patient` only beside `by: patient` or `by: folder`, got `by: duplicates`")
        if self.by == "duplicates" and self.look_alikes is False:
            raise ValueError("expected `by: patient` or `by: folder` beside `look_alikes: false`, got `by: duplicates`")
        if self.by == "folder" and not {"train", "test"} <= set(self.folders):
            raise ValueError("expected `folders` with at least train and test beside `by: folder`")
        if self.by != "folder" and self.folders:
            raise ValueError(f"expected `folders` only beside `by: folder`, but it stands beside `by: {self.by}`")
        return self

    @property
    def searched(self) -> bool:
        """Whether near-duplicates are looked for."""
        return self.by != "patient" if self.look_alikes is None else self.look_alikes


class Training(_Part):
    """What may be set of the training; all else is the preset's."""

    size: int | None = None  # px, side at which the networks see a canvas
    steps: int | None = Field(default=None, ge=10, le=1_000_000)  # of each stage, and of the second method

    @field_validator("size")
    @classmethod
    def _divisible(cls, value: int | None) -> int | None:
        least, most, step = SIDES
        if value is not None and not (least <= value <= most and value % step == 0):
            raise ValueError(f"expected a multiple of {step} from {least} to {most} px")
        return value


class Description(_Part):
    """One data set, as its YAML file has it."""

    title: str = ""  # empty: the name
    normal: Folders
    abnormal: Classes  # class → folders; a folder alone is the class `abnormal`
    masks: Lesions = Field(default_factory=dict)  # lesion → folders; a folder alone is the lesion `lesion`
    mask_suffix: str = ""  # what a mask's name has behind its image's: "_mask"
    split: Split = Field(default_factory=Split)
    shares: tuple[float, float, float, float] = (0.50, 0.15, 0.10, 0.25)  # of the normals: train, val, holdout, test
    form: str = "plain"
    licence: str = ""
    citation: str = ""
    training: Training = Field(default_factory=Training)

    @field_validator("abnormal", "masks")
    @classmethod
    def _labels(cls, value: dict[str, tuple[Path, ...]]) -> dict[str, tuple[Path, ...]]:
        wrong = [name for name in value if not LABEL.fullmatch(name) or name == "normal"]
        if wrong:
            raise ValueError(f"expected names of letters, digits, '_', '.' and '-' other than 'normal', not {wrong}")
        return value

    @field_validator("form")
    @classmethod
    def _known_form(cls, value: str) -> str:
        if value not in FORMS:
            raise ValueError(f"expected one of {', '.join(sorted(FORMS))}")
        return value

    @field_validator("shares")
    @classmethod
    def _whole(cls, value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        ImagesConfig(shares=value)
        if min(value) <= 0:
            raise ValueError("expected a share above 0 for each of train, val, holdout, test")
        return value

    @model_validator(mode="after")
    def _one_base(self) -> Self:
        if self.split.by == "folder" and len(self.normal) != 1:
            raise ValueError("`normal`: expected one folder beside `split: {by: folder}`, below which the others lie")
        return self


def read_description(file: Path) -> Description:
    """The YAML file as a description; ``ConfigError`` names file, field, what was expected and what was got."""
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: expected a readable YAML file, got: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: expected fields and values (`normal: /folder`), got {type(found).__name__}")
    return described(found, file)


def described(fields: dict[str, Any], file: Path) -> Description:
    """A description of given fields, as ``read_description``."""
    try:
        return Description.model_validate(fields)
    except ValidationError as error:
        raise ConfigError("\n".join(_told(item, file) for item in error.errors())) from error


def _told(item: Any, file: Path) -> str:
    """One of pydantic's findings in the words of this project."""
    place = ".".join(str(part) for part in item["loc"] if part not in ("function-before", "[key]"))
    where = f"{file}: {place}: " if place else f"{file}: "
    if item["type"] == "missing":
        return f"{where}expected a value, got none"
    if item["type"] == "extra_forbidden":
        parts: dict[str, type[_Part]] = {"split": Split, "training": Training}
        owner = parts.get(str(item["loc"][0]), Description)
        return f"{where}expected one of the fields {', '.join(owner.model_fields)}, got another"
    text = item["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    return f"{where}{text}" if isinstance(item["input"], dict | BaseModel) else f"{where}{text}, got {item['input']!r}"
