"""What an export says about its collection, so that an import makes the same one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from vicinal.errors import InvalidInput, shorten
from vicinal.indexing import IndexChoice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vicinal.collection import Collection

__all__ = ["FORMAT", "KEY", "Field", "Spec"]

KEY = "vicinal"
"""The key of the header object in JSONL, and of the schema's metadata in Parquet."""

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A vector field. `dim` is None if it never held a vector."""

    dim: int | None
    dtype: str
    metric: str
    index: IndexChoice = field(default_factory=IndexChoice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A collection without its rows. `has_vectors` is False where an export left the vectors out."""

    collection: str
    fields: dict[str, Field] = field(default_factory=dict)
    embedder: str | None = None
    quantize: str | None = None
    id_type: str | None = None
    has_vectors: bool = True

    @classmethod
    def of(cls, collection: Collection, *, has_vectors: bool = True) -> Spec:
        """Return the specification of a stored collection."""
        info = collection.info()
        entries = cast("list[dict[str, object]]", info["fields"])
        return cls(
            collection=collection.name,
            fields={
                str(entry["name"]): Field(
                    dim=cast("int | None", entry["dim"]),
                    dtype=str(entry["dtype"]),
                    metric=str(entry["metric"]),
                    index=IndexChoice.stored(entry["index"]),
                )
                for entry in entries
            },
            embedder=cast("str | None", info.get("embedder")),
            quantize=cast("str | None", info.get("quantize")),
            id_type=cast("str | None", info.get("id_type")),
            has_vectors=has_vectors,
        )

    def to_dict(self) -> dict[str, object]:
        """Return the header as JSON can hold it."""
        return {
            "format": FORMAT,
            "collection": self.collection,
            "vectors": {
                name: {"dim": entry.dim, "dtype": entry.dtype, "metric": entry.metric, "index": entry.index.to_dict()}
                for name, entry in self.fields.items()
            },
            "embedder": self.embedder,
            "quantize": self.quantize,
            "id_type": self.id_type,
            "has_vectors": self.has_vectors,
        }

    @classmethod
    def from_dict(cls, value: object, where: str) -> Spec:
        """Return the specification that a header holds. Raises InvalidInput for anything else."""
        try:
            return cls._parsed(cast("Mapping[str, object]", value))
        except InvalidInput as error:  # says what is wrong with the index it names
            message = f"{where}: {error}"
            raise InvalidInput(message) from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"{where}: not a vicinal header of format {FORMAT}: {shorten(value)}"
            raise InvalidInput(message) from error

    @classmethod
    def _parsed(cls, header: Mapping[str, object]) -> Spec:
        if header["format"] != FORMAT:
            raise ValueError(header["format"])
        entries = cast("Mapping[str, Mapping[str, object]]", header["vectors"])
        fields = {}
        for name, entry in entries.items():
            dim = entry["dim"]
            if dim is not None and type(dim) is not int:
                raise ValueError(dim)
            fields[name] = Field(dim=dim, dtype=str(entry["dtype"]), metric=str(entry["metric"]), index=_index(entry))
        optional = {key: header.get(key) for key in ("embedder", "quantize", "id_type")}
        if not all(text is None or isinstance(text, str) for text in optional.values()):
            raise TypeError(optional)
        return cls(
            collection=str(header["collection"]),
            fields=fields,
            has_vectors=header["has_vectors"] is True,
            embedder=cast("str | None", optional["embedder"]),
            quantize=cast("str | None", optional["quantize"]),
            id_type=cast("str | None", optional["id_type"]),
        )


def _index(entry: Mapping[str, object]) -> IndexChoice:
    """Return the choice that a field of a header names, the usual one where it names none."""
    if "index" not in entry:
        return IndexChoice()
    given = cast("Mapping[str, object]", entry["index"])
    choice = IndexChoice.checked(given["kind"], cast("Mapping[str, object]", given["parameters"]))
    choice.check_suits(str(entry["dtype"]), str(entry["metric"]), cast("int | None", entry["dim"]))
    return choice
