"""A site: keeps its images, answers the server's messages, and writes down what leaves it.

The same object answers in a simulation and behind Flower. It does only what the message kinds say; the server cannot
send code, and what it asks for twice (opening a sum) or in a way that would show single sites is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from resight.errors import ResightError, TrainingError
from resight.experiments.members import seeded_classifier
from resight.federated.aggregate import Tensors, norm, problem
from resight.federated.base import CONTROL, STRATEGIES, Strategy
from resight.federated.columns import SiteColumns
from resight.federated.ledger import Ledger
from resight.federated.local import Round, train_locally
from resight.federated.messages import PROTOCOL, Arrays, Message, refused
from resight.federated.privacy import EpsilonLedger, clip, site_noise, with_noise
from resight.federated.secure_site import SecureSite
from resight.federated.settings import FederatedSettings
from resight.federated.site_audit import SiteAudit
from resight.federated.site_data import SiteData
from resight.federated.weights import freeze, frozen_digest, tensors_of
from resight.multimodal import TableEncoding
from resight.settings import validate
from resight.training.checkpoint import load_checkpoint, save_checkpoint


class Site:
    """Answers messages about one site's images.

    Args:
        name: the site.
        settings: the experiment, which must be the server's but for where the images lie.
        data: the images.
        folder: what the site keeps: memory of strategies, ledger, its own predictions.
        identity: Ed25519 private key, for secure aggregation.
        roster: raw public keys of all sites, from the start-up kit.
    """

    def __init__(
        self,
        name: str,
        settings: FederatedSettings,
        data: SiteData,
        folder: Path,
        *,
        identity: Any = None,
        roster: Mapping[str, bytes] | None = None,
    ) -> None:
        self.name, self.settings, self.data, self.folder = name, settings, data, folder
        self.ledger = Ledger(folder / "ledger.jsonl", settings.federation.privacy)
        federation, clinical = settings.federation, settings.model.clinical
        self.strategy: Strategy = STRATEGIES.build(federation.strategy.name, federation.strategy.options)
        self._columns = None if clinical is None else SiteColumns(data.cohort.table, clinical, name)
        self._secure = SecureSite(name, identity, roster or {})
        self._build(None)
        self._seed = int(np.random.SeedSequence((settings.training.seed, *name.encode())).generate_state(1)[0])
        self._answers: Mapping[str, Callable[[Message], Message]] = {
            "hello": self._hello,
            "columns": self._kinds,
            "sums": self._sums,
            "train": self._train,
            "keys": self._secure.keys,
            "shares": self._secure.shares,
            "masked": self._secure.masked,
            "unmask": self._secure.unmask,
            "count": self._count,
            "report": self._report,
            "done": lambda request: Message("done", request.round),
        }

    def answer(self, request: Message) -> Message:
        """The reply to one message, which is in the ledger before this returns.

        Errors of Resight become a refusal in one line; any other error is a fault of the program and is raised.
        """
        try:
            if request.kind not in self._answers:
                raise TrainingError(f"a message of kind {request.kind!r}", where=self.name)
            reply = self._answers[request.kind](request)
        except ResightError as error:
            reply = refused(request, str(error))
        self.ledger.record(reply)
        return reply

    def _build(self, encoding: TableEncoding | None) -> None:
        """The network, and all that depends on it; of images alone until the clinical columns are agreed on."""
        settings = self.settings if encoding is not None else images_alone(self.settings)
        self._encoding = encoding
        self.model: nn.Module = seeded_classifier(
            settings, self.data.cohort.labels, encoding, self.settings.training.seed
        )
        self._frozen = freeze(self.model, settings.federation.learns)
        self._initial = tensors_of(self.model)
        self._audit = SiteAudit(self.name, self.settings, self.data.samples, self.data.cohorts, self.folder)

    def _hello(self, request: Message) -> Message:
        del request
        cohort = self.data.cohort
        targets, mask = cohort.targets(), cohort.mask()
        absent = [
            f"no {state} training case of {label!r}"
            for column, label in enumerate(cohort.labels)
            for state, value in (("positive", 1), ("negative", 0))
            if not (mask[:, column] & (targets[:, column] == value)).any()
        ]
        return Message(
            "hello",
            facts={
                "site": self.name,
                "protocol": PROTOCOL,
                "version": version("resight"),
                "digest": self.settings.digest(),
                "labels": list(cohort.labels),
                "task": cohort.task,
                "horizons": list(cohort.horizons),
                "channels": self.settings.recipe.input_channels,
                "size_px": list(self.settings.recipe.size_px),
                "backbone": frozen_digest(self.model, self._frozen),
                "images": {split: len(data) for split, data in self.data.samples.items()},
                "notes": absent,
            },
        )

    def _kinds(self, request: Message) -> Message:
        return Message("columns", request.round, {"columns": self._clinical().kinds()})

    def _sums(self, request: Message) -> Message:
        return self._sent(
            Message("sums", request.round, arrays={"sums": self._clinical().sums(request.facts["means"])})
        )

    def _clinical(self) -> SiteColumns:
        if self._columns is None:
            raise TrainingError("the settings of this site name no clinical columns", where=self.name)
        return self._columns

    def _sent(self, reply: Message) -> Message:
        """A reply as it leaves: under secure aggregation its arrays are held back until they can leave masked."""
        if not self.settings.federation.privacy.secure_aggregation:
            return reply
        self._secure.hold(reply.round, reply.arrays)
        return replace(reply, facts={**reply.facts, "largest": self._secure.largest}, arrays={})

    def _train(self, request: Message) -> Message:
        federation, privacy = self.settings.federation, self.settings.federation.privacy
        cases = int(self.data.samples["train"].mask.any(axis=1).sum())
        if not cases:
            raise TrainingError("there are no labelled training images", where=self.name)
        self._agree(request)
        train = self.data.samples["train"]
        memory, epsilon = self._recall(request.round)
        shared = self._load(request.arrays, memory)
        along = {name: array for name, array in request.arrays.items() if name.startswith(CONTROL)}
        trained = train_locally(
            self.model,
            train,
            self.settings.training,
            Round(request.round, federation.rounds, federation.local_epochs, self._seed),
            task=self.data.cohort.task,
            augmentation=self.settings.augmentation,
            wrap=lambda objective: self.strategy.wrap(objective, self.model, along, memory),
            memory=memory,
            privacy=privacy,
        )
        after = tensors_of(self.model)
        moved = {name: after[name] - shared[name] for name in shared}
        update: Tensors = {**moved, **self.strategy.after(moved, along, memory, trained.steps, trained.rate)}
        if bad := problem(update, update):
            raise TrainingError(f"training went wrong: {bad}", where=self.name)
        facts: dict[str, Any] = {"cases": cases, "loss": round(trained.loss, 6), "steps": trained.steps}
        if privacy.differential == "site":
            update, facts["clipped_by"] = clip(update, privacy.clip_norm)
            fewest = int(request.facts["fewest"])
            rng = np.random.default_rng(np.random.SeedSequence())  # noise that nobody can draw again
            update = with_noise(update, site_noise(privacy.noise, privacy.clip_norm, fewest), rng)
        elif privacy.differential == "example":
            epsilon.add(privacy.noise, trained.sampled, trained.steps)
            facts["epsilon"] = round(epsilon.epsilon(), 4)
            if privacy.epsilon and epsilon.epsilon() > privacy.epsilon:
                raise TrainingError(
                    f"the budget of epsilon = {privacy.epsilon:g} is spent", where=self.name, fix="Training ends here."
                )
        self._remember(request.round, after, memory, epsilon)
        if not privacy.secure_aggregation:
            facts["norm"] = norm(update)
        return self._sent(Message("train", request.round, facts, update))

    def _count(self, request: Message) -> Message:
        self._agree(request)
        self._load(request.arrays, self._recall(request.round)[0])
        return self._sent(Message("count", request.round, arrays={"counts": self._audit.count(self.model, request)}))

    def _agree(self, request: Message) -> None:
        """Take up the encoding of the clinical columns that comes with a request, where it is another one."""
        if self._columns is None:
            return
        encoding = validate(TableEncoding, request.facts.get("encoding", {}), where="clinical columns")
        if encoding != self._encoding:
            self.data = self.data.encoded(encoding, where=self.name)
            self._build(encoding)

    def _report(self, request: Message) -> Message:
        return Message("report", request.round, self._audit.report(request))

    def _load(self, arrays: Arrays, memory: Tensors) -> Tensors:
        """Put shared and remembered weights into the network.

        Returns:
            The shared ones.

        Raises:
            TrainingError: they are of another network or not finite.
        """
        kept = self.strategy.stays(self.model) - self._frozen
        like = {name: array for name, array in self._initial.items() if name not in kept | self._frozen}
        shared = {name: array for name, array in arrays.items() if not name.startswith(CONTROL)}
        if bad := problem(shared, like):
            raise TrainingError(f"the server's weights do not fit this site's network: {bad}", where=self.name)
        state = self.model.state_dict()
        own = {name: memory.get(f"own.{name}", self._initial[name]) for name in kept if name in self._initial}
        with torch.no_grad():
            for name, array in {**shared, **own}.items():
                state[name].copy_(torch.from_numpy(array))
        return dict(shared)

    def _recall(self, number: int) -> tuple[Tensors, EpsilonLedger]:
        """What the site kept at the end of its last round before this one, whatever the server has repeated since."""
        ledger = EpsilonLedger(self.settings.federation.privacy.delta)
        memories = self._memories()
        if memories:  # what was spent stays spent, also on a round that is asked for again
            uses = load_checkpoint(memories[-1])[1]["uses"]
            ledger.uses = [(float(noise), float(rate), int(steps)) for noise, rate, steps in uses]
        found = [path for path in memories if _number(path) < number]
        if not found:
            return {}, ledger
        tensors, _ = load_checkpoint(found[-1])
        return {name: tensor.numpy() for name, tensor in tensors.items()}, ledger

    def _remember(self, number: int, after: Tensors, memory: Tensors, ledger: EpsilonLedger) -> None:
        own = {f"own.{name}": after[name] for name in self.strategy.stays(self.model) - self._frozen if name in after}
        kept = {name: array for name, array in memory.items() if not name.startswith("own.")}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in (kept | own).items()}
        save_checkpoint(self.folder / f"memory-{number:06d}.safetensors", tensors, {"uses": ledger.uses})
        for path in self._memories():
            if _number(path) < number - 1:
                path.unlink()

    def _memories(self) -> list[Path]:
        return sorted(self.folder.glob("memory-*.safetensors"))


def images_alone(settings: FederatedSettings) -> FederatedSettings:
    """The same network without clinical columns; its backbone begins with the same weights."""
    return settings.model_copy(update={"model": settings.model.model_copy(update={"clinical": None, "fusion": None})})


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
