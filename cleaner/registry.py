"""Registries: attacks, defenses, detectors, explainers and data sets by name. A new one is one new file.

Importing them loads nothing; the first lookup imports the package of the registry, and with it torch.
"""

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

from cleaner import labels
from cleaner.config import to_dict
from cleaner.types import CleanerError

T = TypeVar("T")


def suggest(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" with the most similar of the known words; "" if none is similar."""
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _place_of(entry: Any) -> tuple[str, str]:
    """Return the module and the name in it that define a class or a function."""
    return entry.__module__, entry.__qualname__


class Registry(Generic[T]):
    """A name -> class table that imports every module of `package` at the first lookup.

    `kind` is the word for an entry in messages ("trigger", "defense", "data set").
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, T] = {}
        self._is_discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers a class under `name`. Raises `ValueError` if the name is taken.

        A class of the same module and name replaces the old one: a cell of a notebook may run again.
        """

        def add(entry: T) -> T:
            if not _place_of(entry)[0].startswith(f"{self.package}."):
                self._discover()  # a name that the package has is refused here, not at the first lookup
            if name in self._entries and _place_of(entry) != _place_of(self._entries[name]):
                raise ValueError(f"the {self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            if label := getattr(entry, "label", ""):  # those of this package are read from its source
                labels.REGISTERED_LABELS[name] = label
            return entry

        return add

    def _discover(self) -> None:
        if self._is_discovered:
            return
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        self._is_discovered = True

    def __getitem__(self, name: str) -> T:
        self._discover()
        if name not in self._entries:
            hint = suggest(name, self._entries)
            raise CleanerError(f"there is no {self.kind} {name!r}{hint}. Choose one of: {', '.join(self)}.")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        self._discover()
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Registry of {self.kind}s: {', '.join(self)}>"

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._entries

    def name_of(self, entry: object) -> str:
        """Return the name under which a class, or the class of an instance, is registered."""
        self._discover()
        cls = entry if isinstance(entry, type) else type(entry)
        for name, registered in self._entries.items():
            if registered is cls:
                return name
        decorator = f"@{self.kind.replace(' ', '').upper()}S.register(name)"
        raise CleanerError(
            f"{cls.__name__} is not a registered {self.kind}: decorate the class with {decorator}, then create the "
            f"{self.kind} again."
        )

    def state_of(self, entry: Any) -> dict[str, Any]:
        """Return the name and the fields of a dataclass instance, JSON-ready; `load` restores it.

        Raises `CleanerError` for a value that JSON cannot hold.
        """
        state = {"name": self.name_of(entry), **to_dict(entry)}
        for field, value in state.items():
            try:
                json.dumps(value)
            except (TypeError, ValueError) as error:
                raise CleanerError(
                    f"{field} of the {self.kind} {state['name']!r} is a {type(value).__name__}, which a run's JSON "
                    "cannot hold: use numbers, text or lists, or compute it in __post_init__ as field(init=False)."
                ) from error
        return state

    def load(self, state: Mapping[str, Any]) -> Any:
        """Return the instance that `state_of` described. Raises `CleanerError` for an unknown name or field.

        A retired parameter (`Method.retired`) is dropped if it has its old default, and refused if it has not.
        """
        values = dict(state)
        cls: Any = self[name := values.pop("name", "")]
        for parameter, default in getattr(cls, "retired", {}).items():
            if (value := values.pop(parameter, default)) != default:
                raise CleanerError(
                    f"the {self.kind} {name!r} no longer has {parameter}={value}: leave it out, or use the version of "
                    "TA-Cleaner Lab that trained with it."
                )
        known = [field.name for field in fields(cls) if field.init]
        if unknown := sorted(values.keys() - set(known)):
            takes = ", ".join(known) or "no parameters"
            raise CleanerError(
                f"the {self.kind} {name!r} has no parameter {', '.join(unknown)}: correct it (it takes {takes}), or "
                "use the version of TA-Cleaner Lab that wrote it."
            )
        return cls(**values)


DATASETS: Registry[Any] = Registry("data set", "cleaner.data")
DEFENSES: Registry[Any] = Registry("defense", "cleaner.defenses")
DETECTORS: Registry[Any] = Registry("detector", "cleaner.detectors")
EXPLAINERS: Registry[Any] = Registry("explainer", "cleaner.explain")
TRIGGERS: Registry[Any] = Registry("trigger", "cleaner.attacks")
