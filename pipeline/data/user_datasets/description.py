"""The description of a user's data set: a YAML file with folders that are absolute or relative to it."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.data.splits import ImagesConfig
from pipeline.errors import ConfigError
from pipeline.forms import FORMS

LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # names of classes and lesions, which become folder names
ALIASES = 20  # of a description; a few lines of nested ones can stand for billions of values
DEALT = ("val", "holdout")  # splits that ``by: folder`` may omit; they are then split off the training folder


def _named(default: str) -> BeforeValidator:
    """A mapping name → folders; a folder without a name gets the default one."""
    return BeforeValidator(lambda value: value if isinstance(value, dict) else {default: value})


_as_list = BeforeValidator(lambda value: value if isinstance(value, list | tuple) else [value])
Folders = Annotated[tuple[Path, ...], _as_list, Field(min_length=1)]
Classes = Annotated[dict[str, Folders], _named("abnormal")]
Lesions = Annotated[dict[str, Folders], _named("lesion")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(_Part):
    """How normals are split; all abnormal images are test."""

    by: Literal["duplicates", "patient", "volume", "folder"] = "duplicates"
    patient: str = ""  # regular expression with one group, searched in the path below the folder: the patient's id
    folders: dict[Literal["train", "val", "holdout", "test"], Folders] = Field(default_factory=dict)  # below `normal`
    look_alikes: bool | None = None  # near-duplicates stay together; None: if by duplicates or folder
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
            raise ValueError(f"expected `folders` only beside `by: folder`, got `by: {self.by}`")
        return self

    @property
    def searched(self) -> bool:
        """Whether near-duplicates are looked for."""
        return self.by in ("duplicates", "folder") if self.look_alikes is None else self.look_alikes


class Training(_Part):
    """Overrides of the preset's training."""

    size: int | None = Field(default=None, ge=32, le=256, multiple_of=16)  # px; the networks halve it up to four times
    steps: int | None = Field(default=None, ge=10, le=1_000_000)  # of each stage, and of the second method


class Description(_Part):
    """One data set, as described in its YAML file."""

    title: str = ""  # empty: the name
    normal: Folders
    abnormal: Classes = Field(default_factory=dict)  # class → folders; a single folder is the class `abnormal`
    masks: Lesions = Field(default_factory=dict)  # lesion → folders; a single folder is the lesion `lesion`
    mask_suffix: str = ""  # appended to the image's name in the mask's name: "_mask"
    split: Split = Field(default_factory=Split)
    shares: tuple[float, float, float, float] = (0.50, 0.15, 0.10, 0.25)  # of the normals: train, val, holdout, test
    form: str = "plain"
    licence: str = ""
    citation: str = ""
    training: Training = Field(default_factory=Training)

    @field_validator("abnormal", "masks")
    @classmethod
    def _labels(cls, value: dict[str, tuple[Path, ...]]) -> dict[str, tuple[Path, ...]]:
        if wrong := [name for name in value if not LABEL.fullmatch(name) or name == "normal"]:
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
            raise ValueError("`normal`: expected one folder beside `split: {by: folder}`, which contains the others")
        return self


def read_description(file: Path) -> Description:
    """The YAML file as a description; ``ConfigError`` names file, field, what was expected and what was got."""
    try:
        text = file.read_text(encoding="utf-8")
        tokens = yaml.scan(text, yaml.SafeLoader)
        aliases = sum(isinstance(token, yaml.AliasToken) for token in tokens)
        found = yaml.safe_load(text) if aliases <= ALIASES else None
    except (OSError, ValueError, AttributeError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: expected a readable YAML file, got: {' '.join(str(error).split())}") from error
    if aliases > ALIASES:
        raise ConfigError(f"{file}: expected at most {ALIASES} aliases (*name), got {aliases}; write the values out")
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: expected fields and values (`normal: /folder`), got {type(found).__name__}")
    return described(found, file)


def described(fields: dict[str, Any], file: Path) -> Description:
    """A description of given fields, as ``read_description``."""
    try:
        return Description.model_validate(fields)
    except ValidationError as error:
        raise ConfigError("\n".join(_message(item, file) for item in error.errors())) from error


def _message(item: Any, file: Path) -> str:
    """One of pydantic's errors, as this project words errors."""
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
