"""Writes the reference of command line and settings and the page of claims from the code, so that none can drift apart.

Run `python docs/generate.py` after a verb or an option has changed; `tests/test_docs.py` fails until then.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic.fields import FieldInfo

import resight
from resight.backbones import BACKBONES
from resight.blocks import ATTENTION
from resight.cli.main import build_app
from resight.evaluation.claims import Verdict, check_claims
from resight.experiments import ExperimentSettings
from resight.explain import EXPLAINERS
from resight.federated import STRATEGIES
from resight.federated.settings import FederationOptions, SimulationOptions
from resight.fewshot import FEWSHOT
from resight.heads import CLASSIFIERS, HEADS
from resight.multimodal import FUSIONS, STEMS
from resight.protocols import PROTOCOLS
from resight.serving.settings import ServiceSettings
from resight.settings import Options
from resight.teaming import POLICIES
from resight.training import LOSSES, OBJECTIVES

REFERENCE = Path(__file__).parent / "reference"
STUDIES = Path(__file__).parent / "studies"
_HEAD = "<!-- Written by docs/generate.py from the code. Do not edit. -->\n\n"
_REGISTRIES = (
    ("Backbones", BACKBONES, "`name` and options stand in `[model.backbone]`."),
    ("Heads", HEADS, "`name` and options stand in `[model.head]`."),
    ("Losses", LOSSES, "`name` stands in `[training.loss]`, options in `[training.loss.options]`."),
    ("Objectives", OBJECTIVES, "`name` stands in `[training.objective]`, options in `[training.objective.options]`."),
    ("Attention layers", ATTENTION, "`attention` of the backbone `resnet` names one."),
    ("Fusions", FUSIONS, "`name` and options stand in `[model.fusion]`."),
    ("Stems", STEMS, "`name` and options stand in `[model.stem]`."),
    ("Strategies", STRATEGIES, "`name` stands in `[federation.strategy]`, options in `[federation.strategy.options]`."),
    ("Classifiers of features", CLASSIFIERS, "Built in Python with `resight.heads.CLASSIFIERS.build`."),
    ("Explainers", EXPLAINERS, "Given to `resight explain` as `--method`, options as `--option key=value`."),
    ("Few-shot classifiers", FEWSHOT, "Given to `resight fewshot` as `--method`."),
    ("Deferral policies", POLICIES, "Given to `resight defer` as `--policy`, options as `--option key=value`."),
    ("Protocols", PROTOCOLS, "Given to `resight reproduce` as `--option key=value`."),
)
_PLAIN = {str: "text", int: "integer", float: "number", bool: "true or false", Path: "path", Any: "anything"}
_LIMITS: dict[type, tuple[str, str]] = {
    Gt: ("gt", "> {}"),
    Ge: ("ge", "≥ {}"),
    Lt: ("lt", "< {}"),
    Le: ("le", "≤ {}"),
    MinLen: ("min_length", "at least {} entries"),
    MaxLen: ("max_length", "at most {} entries"),
}

Option = type[Options]


def pages() -> dict[Path, str]:
    """The generated pages by their paths."""
    return {
        REFERENCE / "cli.md": command_line(),
        REFERENCE / "settings.md": settings(),
        STUDIES / "claims.md": claims(),
    }


def command_line() -> str:
    """Every verb with its arguments."""
    text = build_app().generate_docs(output_format="markdown", recursive=True)
    return (
        _HEAD
        + re.sub(r"\A# resight\n", "# Command line\n", text).rstrip()
        + "\n\n"
        + (
            "Results go to standard output, talk and progress bars to standard error. "
            "Exit codes stand on the page about [errors](errors.md).\n"
        )
    )


def claims() -> str:
    """What arithmetic says of the figures of the review."""
    verdicts = check_claims(None)
    parts = [
        _HEAD + "# What the review claims\n\n"
        "Resight starts from a review of residual networks in medical imaging. Its figures, and what arithmetic and "
        "public files say of them. *Consistent* means that some outcome gives exactly these figures, not that they are "
        "right; *not checkable* that nothing was printed that could be checked. `resight claims check` prints the same "
        "and [checks any other publication](../how-to/judge-any-predictions.md). What the same questions give on "
        "images at hand stands in [what the studies found](../explanation/what-the-studies-found.md).\n"
    ]
    for verdict in get_args(Verdict):
        found = [one for one in verdicts if one.verdict == verdict]
        parts.append(f"## {verdict.capitalize()}: {len(found)} of {len(verdicts)}\n")
        parts.append("| what is claimed | by whom | why |\n| --- | --- | --- |")
        parts += [f"| {one.statement} | {one.source} | {one.explanation} |" for one in found]
        parts.append("")
    return "\n".join(parts)


def settings() -> str:
    """Every options class: the experiment file first, then the members of the registries, then all others."""
    seen: list[Option] = []
    parts = [
        "# Settings",
        "An experiment file is TOML. The keys below are all there are: an unknown key is an error that names the line "
        "and the nearest match. `resight train --set section.key=value` overrides one value. `settings.toml` in a run "
        "folder holds the resolved settings.",
        "## Experiment file",
        *_section(ExperimentSettings, "Top of the file", seen, ""),
    ]
    for title, registry, where in _REGISTRIES:
        parts += [f"## {title}", where]
        for name in registry.names():
            member = registry.member(name)
            if member.options.__module__.startswith("resight."):
                parts += _section(member.options, f"`{name}`", seen)
    parts += [
        "## Federation file",
        "An experiment file for `resight federate` has two more sections.",
        *_section(FederationOptions, "`[federation]` FederationOptions", seen, "federation"),
        *_section(SimulationOptions, "`[simulation]` SimulationOptions", seen, "simulation"),
        "## Service file",
        "What `resight serve` reads.",
        *_section(ServiceSettings, "Top of the service file", seen, ""),
    ]
    parts += ["## Other options", "Used from Python, kept in bundles, or given on the command line as `--option`."]
    for option in sorted(_all_options(), key=lambda o: (o.__module__, o.__name__)):
        if option not in seen:
            parts += _section(option, option.__name__, seen)
    return _HEAD + "\n\n".join(parts) + "\n"


def _section(option: Option, title: str, seen: list[Option], table: str | None = None) -> Iterator[str]:
    """One class, then the classes of its fields that were not described yet.

    Args:
        option: the class.
        title: its heading.
        seen: classes described before; grows.
        table: name of its TOML table in an experiment file, empty for the top of the file; None elsewhere.
    """
    if option in seen:
        yield from (f"### {title}", f"The options of [{option.__name__}](#{_anchor(option)}).")
        return
    seen.append(option)
    yield f"### {title} {{ #{_anchor(option)} }}"
    yield " ".join((option.__doc__ or "").strip().split("\n\n")[0].split())
    if not option.model_fields:
        yield "No options."
        return
    rows = [_row(key, field) for key, field in option.model_fields.items()]
    yield "\n".join(["| key | type | default | range | meaning |", "| --- | --- | --- | --- | --- |", *rows])
    for key, field in option.model_fields.items():
        for inner in [o for o in _options_in(field.annotation) if o not in seen]:
            if table is None:
                yield from _section(inner, inner.__name__, seen)
                continue
            place = f"{table}.{key}".lstrip(".")
            brackets = f"[[{place}]]" if get_origin(field.annotation) is tuple else f"[{place}]"
            yield from _section(inner, f"`{brackets}` {inner.__name__}", seen, place)


def _row(key: str, field: FieldInfo) -> str:
    cells = (f"`{key}`", _type(field.annotation), _default(field), _range(field), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_type(part) for part in inner if part is not NoneType)
    if origin is tuple:
        each = [part for part in inner if part is not Ellipsis]
        return f"list of {_type(each[0])}" if Ellipsis in inner else f"list: {', '.join(map(_type, each))}"
    if origin is dict:
        return f"table of {_type(inner[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Options):
        return f"[{annotation.__name__}](#{_anchor(annotation)})"
    return _PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "unset"
    if isinstance(value, Options):
        return "its defaults"
    if isinstance(value, tuple) and any(isinstance(part, Options) for part in value):
        value = [part.model_dump(mode="json", exclude_none=True) for part in value]
    return f"`{json.dumps(value, ensure_ascii=False, default=str)}`"


def _range(field: FieldInfo) -> str:
    each = " and ".join(_limits(_metadata_within(field.annotation)))
    return ", ".join([*_limits(field.metadata), *([f"each {each}"] if each else [])])


def _limits(metadata: Iterable[Any]) -> list[str]:
    known = [(constraint, *_LIMITS[type(constraint)]) for constraint in metadata if type(constraint) in _LIMITS]
    return [text.format(getattr(constraint, name)) for constraint, name, text in known]


def _metadata_within(annotation: Any) -> list[Any]:
    """Constraints on the entries of a list or table, each once."""
    found: list[Any] = []
    if get_origin(annotation) is Annotated:
        for extra in annotation.__metadata__:
            found += extra.metadata if isinstance(extra, FieldInfo) else [extra]
        return found
    for inner in get_args(annotation):
        found += [constraint for constraint in _metadata_within(inner) if constraint not in found]
    return found


def _options_in(annotation: Any) -> Iterator[Option]:
    if isinstance(annotation, type) and issubclass(annotation, Options):
        yield annotation
    for inner in get_args(annotation):
        yield from _options_in(inner)


def _all_options() -> set[Option]:
    for module in pkgutil.walk_packages(resight.__path__, "resight."):
        importlib.import_module(module.name)

    def below(option: Option) -> Iterator[Option]:
        for child in option.__subclasses__():
            yield child
            yield from below(child)

    return {o for o in below(Options) if o.__module__.startswith("resight.") and not o.__name__.startswith("_")}


def _anchor(option: Option) -> str:
    return option.__name__.lower()


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
