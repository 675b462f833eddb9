"""The server's side of a federation: rounds, whose update counts, and where to go on after a kill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resight.errors import SettingsError, TrainingError
from resight.experiments.members import seeded_classifier
from resight.federated.aggregate import Tensors, norm, problem
from resight.federated.base import Strategy, Updates
from resight.federated.columns import agree_on_columns
from resight.federated.history import Diary, History
from resight.federated.masks import FEWEST_SITES
from resight.federated.membership import Membership
from resight.federated.messages import Arrays, Message, Transport
from resight.federated.privacy import EpsilonLedger
from resight.federated.secure_round import secure_sum
from resight.federated.settings import FederatedSettings
from resight.federated.settings_check import check_settings
from resight.federated.weights import freeze, frozen_digest, shared_tensors
from resight.multimodal import TableEncoding
from resight.settings import plain, validate
from resight.training.checkpoint import load_checkpoint, save_checkpoint
from resight.types import Progress, silent

CHECKPOINT = "server.safetensors"
_MOST_REPEATS = 3
"""Rounds in a row that may fail before the server gives up."""


@dataclass(frozen=True)
class Task:
    """What all sites agree on, as the first of them said it."""

    labels: tuple[str, ...]
    task: str
    horizons: tuple[float, ...] = ()


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
        self.strategy: Strategy = check_settings(settings)
        self.diary = Diary(folder, say)
        self.membership = Membership(settings, transport, self.diary)
        self.epsilon = EpsilonLedger(federation.privacy.delta)
        self.shared: Tensors = {}
        self.next_round = 0
        self._resume = resume and (folder / CHECKPOINT).exists()

    @property
    def members(self) -> Mapping[str, Mapping[str, Any]]:
        """What each site said of itself when it was greeted."""
        return self.membership.members

    @property
    def history(self) -> History:
        """What happened so far."""
        return self.diary.history

    def gather(self) -> list[str]:
        """Sites that can be asked now, once there are enough; see `Membership.gather`."""
        return self.membership.gather()

    def turn_to(self, transport: Transport) -> None:
        """Ask other sites from now on, as for an audit on images of others."""
        self.transport, self.membership = transport, Membership(self.settings, transport, self.diary)

    def train(self) -> Tensors:
        """Run the rounds that are left.

        Returns:
            The shared weights.

        Raises:
            TrainingError: too few sites, or rounds that fail again and again.
        """
        federation, failures = self.settings.federation, 0
        self.membership.gather(0 if self._resume else federation.begin_with)
        self._prepare()
        while self.next_round < federation.rounds and self._within_budget():
            try:
                entry = self._round(self.next_round)
            except TrainingError as error:
                failures += 1
                self.diary.refuse("", self.next_round, str(error))
                if failures >= _MOST_REPEATS:
                    fix = "Look at rounds.jsonl for the reasons, then go on with --resume."
                    raise TrainingError(
                        f"round {self.next_round + 1} failed {failures} times ({error})", fix=fix
                    ) from error
                self.membership.gather()
                continue
            failures = 0
            self.history.rounds.append(entry)
            self.next_round += 1
            self._save()
            self.diary.write(entry)
            detail = f"{entry['sites']} sites, loss {entry['loss']:.4f}"
            self.progress("rounds", self.next_round, federation.rounds, detail)
        return self.shared

    def _prepare(self) -> None:
        """The network everybody begins with, or the one that the checkpoint holds."""
        settings, first = self.settings, next(iter(self.members.values()))
        self.task = Task(tuple(first["labels"]), str(first["task"]), tuple(first["horizons"]))
        state = self._restored() if self._resume else {}
        if settings.model.clinical is not None and self.encoding is None:
            names = self.membership.present()
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
        self.diary.history = History(list(state["rounds"]), list(state["refusals"]))
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
        present = self.membership.gather()
        fewest = max(federation.min_sites, FEWEST_SITES if privacy.secure_aggregation else 1)
        chosen = draw(present, federation.participation, fewest, self.settings.training.seed, number)
        along = self.strategy.sent_along(self.shared, self.model)
        request = Message("train", number, {"fewest": fewest, **self.agreed}, {**self.shared, **along})
        replies = self.transport.ask(dict.fromkeys(chosen, request), federation.timeout_s)
        if privacy.differential == "site":  # also where the round fails: the updates have left the sites
            self.epsilon.add(privacy.noise, 1.0, 1)
        for name in sorted(set(chosen) - replies.keys()):
            self.diary.refuse(name, number, "fell silent during training")
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
                self.diary.refuse(name, number, "fell silent before its masked update came")
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
            self.diary.refuse(name, number, reason)
        return not reason

    def _within_budget(self) -> bool:
        privacy = self.settings.federation.privacy
        if privacy.differential != "site" or not privacy.epsilon:
            return True
        if self.epsilon.after(privacy.noise, 1.0, 1) <= privacy.epsilon:
            return True
        self.diary.refuse("", self.next_round, f"the budget of epsilon = {privacy.epsilon:g} would be exceeded")
        return False

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


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))
