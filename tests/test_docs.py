"""What the documentation says is what the program does: generated pages, links, commands, settings and snippets."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cyclopts import App

from resight import errors
from resight.cli.main import build_app
from resight.cohorts import PhantomOptions, write_phantom
from resight.evaluation import evaluate
from resight.experiments import ExperimentSettings
from resight.federated import FederatedSettings
from resight.predictions import COLUMNS, Predictions
from resight.serving import ServiceSettings
from resight.settings import validate

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BUNDLE = Path(__file__).parent / "golden" / "bundle_v1"
PAGES = sorted(DOCS.rglob("*.md"))
DOORS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[str]:
    return [code for language, code in _FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


def pages_with(*languages: str) -> list[Path]:
    return [page for page in [*PAGES, DOORS[0]] if blocks(page, *languages)]


def test_generated_pages_are_what_the_code_gives() -> None:
    for path, text in runpy.run_path(str(DOCS / "generate.py"))["pages"]().items():
        assert path.read_text(encoding="utf-8") == text, f"{relative(path)}: run python docs/generate.py"


@pytest.mark.parametrize("page", [*PAGES, *DOORS], ids=relative)
def test_internal_links_lead_somewhere(page: Path) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in _LINK.findall(text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{relative(page)}: {link}"
        if anchor:
            known = anchors(target)  # of a documented object, or of a method of it
            assert {anchor, anchor.rpartition(".")[0]} & known, f"{relative(page)}: {link}"


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in [*PAGES, *DOORS]
        for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    }
    alone = {DOCS / "index.md", *(DOCS / "project").iterdir()}
    assert [relative(page) for page in PAGES if page not in {*linked, *alone}] == []


def test_every_kind_of_member_is_listed_and_described() -> None:
    kinds = {
        call[1]
        for file in (ROOT / "src").rglob("*.py")
        for call in re.finditer(r'Registry\[.*\] = Registry\("([^"]+)"', file.read_text(encoding="utf-8"))
    }
    generator = runpy.run_path(str(DOCS / "generate.py"))
    described = {registry.kind for _, registry, _ in generator["_REGISTRIES"]}
    assert described >= kinds - {"engine"}  # engines have no options; docs/how-to/export-a-model.md is about them
    listing = subprocess.run(
        [sys.executable, "-m", "resight.cli.main", "list", "--json"], capture_output=True, text=True, check=True
    )
    assert {member["kind"] for member in json.loads(listing.stdout)} == kinds


def anchors(page: Path) -> set[str]:
    """Identifiers of headings as Python-Markdown makes them, explicit ones, and those of documented objects."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+?)(?: \{ #[\w-]+ \})?$", text, re.MULTILINE)
    slugs = {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}
    objects = re.findall(r"^::: (\S+)", text, re.MULTILINE)
    return {*slugs, *re.findall(r"\{ #([\w-]+) \}", text), *objects}


@pytest.fixture(scope="module")
def app() -> App:
    return build_app()


@pytest.mark.parametrize("page", pages_with("", "bash"), ids=relative)
def test_commands_parse(page: Path, app: App) -> None:
    lines = "\n".join(blocks(page, "", "bash")).replace("\\\n", " ").splitlines()
    for line in lines:
        tokens = shlex.split(line.removeprefix("$ "), comments=True)
        if tokens[:1] == ["resight"]:
            app.parse_args(tokens[1:], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", [*PAGES, DOORS[0]], ids=relative)
def test_verbs_named_in_the_text_exist(page: Path, app: App) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for command in re.findall(r"`resight ([a-z][^`]*)`", text):
        first, *rest = command.split()
        assert first in app, f"{relative(page)}: resight {command}"
        verbs = [name for name in app[first].resolved_commands() if not name.startswith("-")]
        assert not (verbs and rest) or rest[0] in verbs, f"{relative(page)}: resight {command}"


@pytest.mark.parametrize("page", pages_with("toml"), ids=relative)
def test_settings_are_accepted(page: Path) -> None:
    for code in blocks(page, "toml"):
        found = tomllib.loads(code)
        if {"http", "dicom", "models", "destinations"} & found.keys():
            validate(ServiceSettings, {"folder": "data"} | found, where=relative(page))
            continue
        data = {"cohort": {"path": "study"}} | found
        model = FederatedSettings if {"federation", "simulation"} & data.keys() else ExperimentSettings
        validate(model, data, where=relative(page))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the snippets find around them: a small cohort, a bundle, and a predictions table."""
    folder = tmp_path_factory.mktemp("docs")
    write_phantom(PhantomOptions(images=30, size_px=32, findings=("Effusion", "Nodule")), folder / "study")
    shutil.copytree(BUNDLE, folder / "runs" / "first" / "bundle")
    shutil.copytree(folder / "study" / "images", folder / "new_images")
    some_predictions().write(folder / "predictions.csv")
    return folder


def some_predictions() -> Predictions:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, size=(60, 2)).astype(float)
    probability = np.clip(0.4 * targets + 0.6 * rng.random((60, 2)), 0, 1)
    images = pd.DataFrame({"image": [f"{i}.png" for i in range(60)], "patient_id": [f"P{i // 2}" for i in range(60)]})
    return Predictions.from_arrays(
        images, ("effusion", "mass"), "multilabel", score=probability, probability=probability, target=targets
    )


@pytest.mark.parametrize("page", pages_with("python"), ids=relative)
def test_snippets_run(page: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    names: dict[str, object] = {"__name__": "snippet"}
    for code in blocks(page, "python"):
        exec(compile(code, relative(page), "exec"), names)


def test_the_page_of_errors_names_every_class_with_its_exit_code() -> None:
    page = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.ResightError)]
    assert len(kinds) > 5
    for kind in kinds:
        assert f"| `{kind.__name__}` | {kind.exit_code} |" in page


def test_the_page_of_the_predictions_table_names_every_column() -> None:
    told = (DOCS / "reference" / "predictions-table.md").read_text()
    assert [name for name in COLUMNS if f"`{name}`" not in told] == []


def test_the_page_of_metrics_names_every_metric() -> None:
    page = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    found = evaluate(some_predictions())
    multiclass = some_predictions().table.copy()
    first = multiclass["label"] == "effusion"
    multiclass["target"] = np.where(first, multiclass["target"], 1 - multiclass["target"].shift())
    multiclass["probability"] = np.where(first, multiclass["probability"], 1 - multiclass["probability"].shift())
    classes = evaluate(Predictions(multiclass, ("effusion", "mass"), "multiclass"))
    assert classes.overall
    names = {*found.macro, *classes.overall}
    for name in names:
        assert f"`{re.sub(r'_0[.]9$', '_S', name)}`" in page


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    outside = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="?https?://')
    assert [p.name for p in (tmp_path / "site").rglob("*.html") if outside.search(p.read_text(encoding="utf-8"))] == []
