"""The server's side of a federation: who takes part, whose update counts, and where to go on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resight.errors import SettingsError, TrainingError
from resight.experiments.members import seeded_classifier
from resight.federated.aggregate import Tensors, norm, problem
from resight.federated.base import STRATEGIES, Strategy, Updates
from resight.federated.columns import agree_on_columns
from resight.federated.masks import FEWEST_SITES
from resight.federated.messages import PROTOCOL, Arrays, Message, Transport
from resight.federated.privacy import EpsilonLedger
from resight.federated.secure_round import secure_sum
from resight.federated.settings import FederatedSettings
from resight.federated.site import freeze, frozen_digest, shared_tensors
from resight.multimodal import TableEncoding
from resight.settings import plain, validate
from resight.training.checkpoint import load_checkpoint, save_checkpoint
from resight.types import Progress, silent

CHECKPOINT = "server.safetensors"
_MOST_REPEATS = 3
"""Rounds in a row that may fail before the server gives up."""
_GOODBYE_S = 10.0
"""How long a site that does not fit may take to hear why."""


@dataclass(frozen=True)
class Task:
    """What all sites agree on, as the first of them said it."""

    labels: tuple[str, ...]
    task: str
    horizons: tuple[float, ...] = ()


@dataclass
class History:
    """What happened: rounds that were finished, and every refusal in one line."""

    rounds: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    refusals: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class Coordinator:
    """Runs the rounds of one federation.

    Args:
        settings: the experiment.
        transport: reaches the sites.
        folder: holds `server.safetensors` after every round, and `rounds.jsonl` for people.
        resume: go on from what is there.
        progress: told after every round.
        encoding: of the clinical columns, where it need not be agreed on any more.
        say: told in one line who came, who was refused, and what is waited for.
    """

    def __init__(
        self,
        settings: FederatedSettings,
        transport: Transport,
        folder: Path,
        *,
        resume: bool = False,
        progress: Progress = silent,
        encoding: TableEncoding | None = None,
        say: Callable[[str], object] = str,
    ) -> None:
        federation, self.encoding = settings.federation, encoding
        self.settings, self.transport, self.folder, self.progress = settings, transport, folder, progress
        self._say = say
        self.strategy: Strategy = check_settings(settings)
        self.history = History()
        self.epsilon = EpsilonLedger(federation.privacy.delta)
        self.members: dict[str, Mapping[str, Any]] = {}
        self.shared: Tensors = {}
        self.next_round = 0
        self._resume = resume and (folder / CHECKPOINT).exists()

    def train(self) -> Tensors:
        """Run the rounds that are left.

        Returns:
            The shared weights.

        Raises:
            TrainingError: too few sites, or rounds that fail again and again.
        """
        federation, failures = self.settings.federation, 0
        self.gather(0 if self._resume else federation.begin_with)
        self._prepare()
        while self.next_round < federation.rounds and self._within_budget():
            try:
                entry = self._round(self.next_round)
            except TrainingError as error:
                failures += 1
                self._refuse("", self.next_round, str(error))
                if failures >= _MOST_REPEATS:
                    fix = "Look at rounds.jsonl for the reasons, then go on with --resume."
                    raise TrainingError(
                        f"round {self.next_round + 1} failed {failures} times ({error})", fix=fix
                    ) from error
                self.gather()
                continue
            failures = 0
            self.history.rounds.append(entry)
            self.next_round += 1
            self._save()
            self._log(entry)
            detail = f"{entry['sites']} sites, loss {entry['loss']:.4f}"
            self.progress("rounds", self.next_round, federation.rounds, detail)
        return self.shared

    def gather(self, at_least: int = 0) -> list[str]:
        """Greet sites that are new or back, and wait until there are enough.

        Args:
            at_least: how many, where that is more than a round needs.

        Returns:
            Sites that can be asked now.

        Raises:
            TrainingError: too few of them came in time.
        """
        federation, secure = self.settings.federation, self.settings.federation.privacy.secure_aggregation
        fewest = max(federation.min_sites, at_least, FEWEST_SITES if secure else 1)
        refused: set[str] = set()
        self._greet(self.transport.sites(), refused)
        while len(present := self._present()) < fewest:
            self._say(f"{len(present)} of {fewest} sites are there; waiting for more up to {federation.timeout_s:g} s")
            known = [*self.members, *refused]
            came = self.transport.wait(len(refused & set(self.transport.sites())) + fewest, known, federation.timeout_s)
            new = [name for name in came if name not in self.members and name not in refused]
            if not new and len(self._present()) < fewest:
                masked = secure and fewest == FEWEST_SITES
                found = f"{len(present)} of {fewest} sites are there{' for secure aggregation' if masked else ''}"
                option = "begin_with" if at_least == fewest else "min_sites"
                fix = "Start more sites" + ("." if masked else f", or lower federation.{option}.")
                reasons = "; ".join(sorted({str(r["reason"]) for r in self.history.refusals if r["site"] in refused}))
                raise TrainingError(found, where=reasons, fix=fix)
            self._greet(came, refused)
        return present

    def _present(self) -> list[str]:
        return [name for name in self.transport.sites() if name in self.members]

    def _greet(self, names: Sequence[str], refused: set[str]) -> None:
        new = [name for name in names if name not in self.members and name not in refused]
        if not new:
            return
        replies = self.transport.ask(dict.fromkeys(new, Message("hello")), self.settings.federation.timeout_s)
        for name in sorted(replies):
            reply = replies[name]
            reason = str(reply.facts.get("reason", "")) if reply.kind == "refused" else self._mismatch(reply.facts)
            if reason:
                refused.add(name)
                self._refuse(name, -1, reason)
                self.transport.ask({name: Message("done", facts={"reason": reason})}, _GOODBYE_S)
            else:
                self.members[name] = reply.facts
                count = reply.facts.get("images", {}).get("train", 0)
                self._say(f"{name} takes part with {count} training images")
                for note in reply.facts.get("notes", ()):
                    self._say(f"{name}: {note}")
                    self._log({"site": name, "note": note})

    def _mismatch(self, facts: Mapping[str, Any]) -> str:
        """Why a site cannot take part; empty when it can."""
        ours = {"protocol": PROTOCOL, "version": version("resight")}
        for key, value in ours.items():
            if facts.get(key) != value:
                return f"{key} {facts.get(key)!r} at the site, {value!r} at the server"
        cohort = self.settings.cohort
        wanted = [] if cohort.label_column else list(cohort.labels or ())  # else whoever came first would decide
        if wanted and facts.get("labels") != wanted:
            return f"labels {facts.get('labels')} at the site, {wanted} at the server"
        first = next(iter(self.members.values()), None)
        for key in ("labels", "task", "horizons", "backbone"):
            if first is not None and facts.get(key) != first[key]:
                return f"{key} {facts.get(key)!r} at the site, {first[key]!r} at the others"
        if facts.get("channels") != (channels := self.settings.recipe.input_channels):
            return f"{facts.get('channels')} channels at the site, {channels} at the server"
        if facts.get("digest") != self.settings.digest():
            return "the site's settings are not those of the server, apart from where images lie"
        return ""

    def _prepare(self) -> None:
        """The network everybody begins with, or the one that the checkpoint holds."""
        settings, first = self.settings, next(iter(self.members.values()))
        self.task = Task(tuple(first["labels"]), str(first["task"]), tuple(first["horizons"]))
        state = self._restored() if self._resume else {}
        if settings.model.clinical is not None and self.encoding is None:
            names = self._present()
            self.encoding = agree_on_columns(self.transport, names, settings.model.clinical, settings.federation)
        self.model = seeded_classifier(settings, self.task.labels, self.encoding, settings.training.seed)
        self.frozen = freeze(self.model, settings.federation.learns)
        if (own := frozen_digest(self.model, self.frozen)) != first["backbone"]:
            fix = "Give the server the file of weights that the sites have."
            raise TrainingError("the backbone at the server is not the one of the sites", where=own[:12], fix=fix)
        initial = shared_tensors(self.model, self.strategy, self.frozen)
        self.shared = {n.removeprefix("shared."): a for n, a in state.items() if n.startswith("shared.")} or initial
        self.strategy.sent_along(self.shared, self.model)
        if state:
            kept = {n.removeprefix("strategy."): a for n, a in state.items() if n.startswith("strategy.")}
            self.strategy.restore(kept)

    def _restored(self) -> Tensors:
        """Arrays of the checkpoint, after everything else in it was taken up."""
        tensors, state = load_checkpoint(self.folder / CHECKPOINT)
        if state["digest"] != self.settings.digest():
            fix = "Resume with the settings it began with, or choose another folder."
            raise SettingsError("the settings are not those the federation began with", where=str(self.folder), fix=fix)
        self.next_round = int(state["round"])
        self.history = History(list(state["rounds"]), list(state["refusals"]))
        self.epsilon.uses = [(float(a), float(b), int(c)) for a, b, c in state["uses"]]
        if state.get("encoding"):
            self.encoding = validate(TableEncoding, state["encoding"], where=str(self.folder / CHECKPOINT))
        self._resume = False
        return {name: tensor.numpy() for name, tensor in tensors.items()}

    @property
    def agreed(self) -> dict[str, Any]:
        """Facts of every request that needs the network: how clinical columns are encoded, where there are some."""
        return {} if self.encoding is None else {"encoding": self.encoding.model_dump(mode="json")}

    def _round(self, number: int) -> dict[str, Any]:
        federation, privacy = self.settings.federation, self.settings.federation.privacy
        present = self.gather()
        fewest = max(federation.min_sites, FEWEST_SITES if privacy.secure_aggregation else 1)
        chosen = draw(present, federation.participation, fewest, self.settings.training.seed, number)
        along = self.strategy.sent_along(self.shared, self.model)
        request = Message("train", number, {"fewest": fewest, **self.agreed}, {**self.shared, **along})
        replies = self.transport.ask(dict.fromkeys(chosen, request), federation.timeout_s)
        if privacy.differential == "site":  # also where the round fails: the updates have left the sites
            self.epsilon.add(privacy.noise, 1.0, 1)
        for name in sorted(set(chosen) - replies.keys()):
            self._refuse(name, number, "fell silent during training")
        like = {**self.shared, **along}
        usable = {name: reply for name, reply in sorted(replies.items()) if self._usable(name, reply, number, like)}
        if len(usable) < federation.min_sites:
            raise TrainingError(f"{len(usable)} usable updates", expected=f"at least {federation.min_sites}")
        cases = {name: int(reply.facts["cases"]) for name, reply in usable.items()}
        total = sum(cases.values())
        weights = {name: cases[name] / total if federation.weight_by == "cases" else 1 / len(usable) for name in usable}
        everyone = max(len(self.members), len(usable))
        entry: dict[str, Any] = {"round": number}
        if privacy.secure_aggregation:
            shapes = {name: array.shape for name, array in like.items()}
            found = secure_sum(
                self.transport,
                usable,
                shapes,
                weights,
                threshold=privacy.threshold,
                timeout_s=federation.timeout_s,
            )
            for name in found.silent:
                self._refuse(name, number, "fell silent before its masked update came")
            usable = {name: usable[name] for name in found.stayed}
            updates = Updates(found.total, sum(weights[name] for name in usable), len(usable), everyone)
            entry["error_bound"] = found.error
        else:
            arrays = [reply.arrays for reply in usable.values()]
            updates = Updates.of(arrays, [weights[name] for name in usable], everyone)
        after = self.strategy.combine(self.shared, updates)
        if bad := problem(after, self.shared):
            raise TrainingError(f"the updates cannot be put together: {bad}")
        moved = norm({name: after[name] - self.shared[name] for name in after})
        self.shared = after
        losses = {name: float(usable[name].facts["loss"]) for name in usable}
        if privacy.differential == "site":
            entry["epsilon"] = self.epsilon.epsilon()
        entry |= {
            "sites": len(usable),
            "names": sorted(usable),
            "cases": {name: cases[name] for name in sorted(usable)},
            "losses": losses,
            "loss": float(np.average(list(losses.values()), weights=[weights[name] for name in usable])),
            "moved": moved,
        }
        return entry

    def _usable(self, name: str, reply: Message, number: int, like: Arrays) -> bool:
        """Whether a reply counts; if not it is written down why, and the round goes on."""
        reason = ""
        if reply.kind == "refused":
            reason = str(reply.facts.get("reason", "refused without a reason"))
        elif reply.kind != "train" or reply.round != number:
            reason = f"answered {reply.kind!r} of round {reply.round} in place of 'train' of round {number}"
        elif not all(_number(reply.facts.get(key)) for key in ("cases", "loss")) or int(reply.facts["cases"]) <= 0:
            reason = "its number of cases or its loss is no number, or there are no cases"
        elif self.settings.federation.privacy.secure_aggregation:
            if reply.arrays or not _number(reply.facts.get("largest")):
                reason = "its update came unmasked, or without a bound"
        else:
            reason = problem(reply.arrays, like)
        if reason:
            self._refuse(name, number, reason)
        return not reason

    def _within_budget(self) -> bool:
        privacy = self.settings.federation.privacy
        if privacy.differential != "site" or not privacy.epsilon:
            return True
        if self.epsilon.after(privacy.noise, 1.0, 1) <= privacy.epsilon:
            return True
        self._refuse("", self.next_round, f"the budget of epsilon = {privacy.epsilon:g} would be exceeded")
        return False

    def _refuse(self, site: str, number: int, reason: str) -> None:
        entry = {"refused": site or "the round", "site": site, "round": number, "reason": reason}
        self.history.refusals.append(entry)
        self._say(f"{f'round {number + 1}: ' if number >= 0 else ''}{entry['refused']}: {reason}")
        self._log(entry)

    def _log(self, entry: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "rounds.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(plain(dict(entry)), sort_keys=True) + "\n")

    def _save(self) -> None:
        tensors = {f"shared.{n}": torch.from_numpy(np.ascontiguousarray(a)) for n, a in self.shared.items()}
        state = self.strategy.state()
        tensors |= {f"strategy.{n}": torch.from_numpy(np.ascontiguousarray(a)) for n, a in state.items()}
        facts = {
            "round": self.next_round,
            "digest": self.settings.digest(),
            "rounds": plain(self.history.rounds),
            "refusals": plain(self.history.refusals),
            "uses": self.epsilon.uses,
            **self.agreed,
        }
        save_checkpoint(self.folder / CHECKPOINT, tensors, facts)


def draw(present: Sequence[str], share: float, fewest: int, seed: int, number: int) -> list[str]:
    """The sites of one round: a share of those that are there, drawn anew each round, but not fewer than needed."""
    count = min(len(present), max(round(share * len(present)), fewest))
    rng = np.random.default_rng((seed, 4, number))
    return sorted(rng.choice(sorted(present), size=count, replace=False).tolist())


def check_settings(settings: FederatedSettings) -> Strategy:
    """Refuse, before anything runs, what does not go together.

    Returns:
        The strategy that the settings name.

    Raises:
        SettingsError: what does not fit.
    """
    privacy, chosen = settings.federation.privacy, settings.federation.strategy
    name, strategy = chosen.name, STRATEGIES.build(chosen.name, chosen.options)
    strategy.check(settings.training)
    if privacy.secure_aggregation and strategy.needs_each:
        fix = "Switch secure aggregation off, or take a strategy that needs sums only."
        raise SettingsError(f"strategy {name!r} must see single updates", where="privacy.secure_aggregation", fix=fix)
    if privacy.differential != "example":
        return strategy
    # What is added to the loss of a whole batch has no gradient of a single image that could be clipped.
    added = {
        f"strategy {name!r}": type(strategy).wrap is not Strategy.wrap,
        f"objective {settings.training.objective.name!r}": settings.training.objective.name != "supervised",
        "gates": bool(settings.model.backbone.get("gate_target")),
    }
    for found in (what for what, is_there in added.items() if is_there):
        fix = "Leave it away, or take differential = 'site'."
        raise SettingsError(found, where="privacy.differential = 'example'", expected="a loss image by image", fix=fix)
    return strategy


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))
