"""Save and restore fitted objects: arrays of nested dataclasses by their dotted names, for safetensors.

Fields that are neither arrays nor dataclasses of arrays are given when the object is restored.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Fitted = TypeVar("Fitted")


def arrays_of(fitted: object, prefix: str = "") -> Arrays:
    """Every array of a fitted object, by the path of its field."""
    found: Arrays = {}
    for field in fields(fitted):  # type: ignore[arg-type]
        value = getattr(fitted, field.name)
        if isinstance(value, np.ndarray):
            found[prefix + field.name] = value
        elif is_dataclass(value) and field.metadata.get("saved", True):
            found |= arrays_of(value, f"{prefix}{field.name}.")
    return found


def restored(kind: type[Fitted], arrays: Mapping[str, NDArray[Any]], **given: Any) -> Fitted:
    """Inverse of ``arrays_of``; ``given`` are the fields that are not arrays, for nested objects as well."""
    values: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for field in fields(kind):  # type: ignore[arg-type]
        inner = {name.partition(".")[2]: value for name, value in arrays.items() if name.startswith(f"{field.name}.")}
        if field.name in arrays:
            values[field.name] = arrays[field.name]
        elif inner:
            values[field.name] = restored(_dataclass(hints[field.name]), inner, **given)
        elif field.name in given:
            values[field.name] = given[field.name]
    return kind(**values)


def _dataclass(hint: Any) -> type[Any]:
    options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    return next(option for option in options if isinstance(option, type) and is_dataclass(option))
