"""Who takes part in a federation: sites are greeted, compared with the server and each other, and waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from resight.errors import TrainingError
from resight.federated.history import Diary
from resight.federated.masks import FEWEST_SITES
from resight.federated.messages import PROTOCOL, Message, Transport
from resight.federated.settings import FederatedSettings

_GOODBYE_S = 10.0
"""How long a site that does not fit may take to hear why."""


class Membership:
    """The sites that may be asked.

    Args:
        settings: the experiment, which must be the sites' but for where images lie.
        transport: reaches the sites.
        diary: told who came and who was refused.
    """

    def __init__(self, settings: FederatedSettings, transport: Transport, diary: Diary) -> None:
        self._settings, self._transport, self._diary = settings, transport, diary
        self.members: dict[str, Mapping[str, Any]] = {}
        """What each site said of itself."""

    def gather(self, at_least: int = 0) -> list[str]:
        """Greet sites that are new or back, and wait until there are enough.

        Args:
            at_least: how many, where that is more than a round needs.

        Returns:
            Sites that can be asked now.

        Raises:
            TrainingError: too few of them came in time.
        """
        federation, secure = self._settings.federation, self._settings.federation.privacy.secure_aggregation
        fewest = max(federation.min_sites, at_least, FEWEST_SITES if secure else 1)
        refused: set[str] = set()
        self._greet(self._transport.sites(), refused)
        while len(present := self.present()) < fewest:
            self._diary.say(
                f"{len(present)} of {fewest} sites are there; waiting for more up to {federation.timeout_s:g} s"
            )
            known = [*self.members, *refused]
            came = self._transport.wait(
                len(refused & set(self._transport.sites())) + fewest, known, federation.timeout_s
            )
            new = [name for name in came if name not in self.members and name not in refused]
            if not new and len(self.present()) < fewest:
                masked = secure and fewest == FEWEST_SITES
                found = f"{len(present)} of {fewest} sites are there{' for secure aggregation' if masked else ''}"
                option = "begin_with" if at_least == fewest else "min_sites"
                fix = "Start more sites" + ("." if masked else f", or lower federation.{option}.")
                reasons = "; ".join(
                    sorted({str(r["reason"]) for r in self._diary.history.refusals if r["site"] in refused})
                )
                raise TrainingError(found, where=reasons, fix=fix)
            self._greet(came, refused)
        return present

    def present(self) -> list[str]:
        """Sites that have been greeted and can be reached."""
        return [name for name in self._transport.sites() if name in self.members]

    def _greet(self, names: Sequence[str], refused: set[str]) -> None:
        new = [name for name in names if name not in self.members and name not in refused]
        if not new:
            return
        replies = self._transport.ask(dict.fromkeys(new, Message("hello")), self._settings.federation.timeout_s)
        for name in sorted(replies):
            reply = replies[name]
            reason = str(reply.facts.get("reason", "")) if reply.kind == "refused" else self._mismatch(reply.facts)
            if reason:
                refused.add(name)
                self._diary.refuse(name, -1, reason)
                self._transport.ask({name: Message("done", facts={"reason": reason})}, _GOODBYE_S)
            else:
                self.members[name] = reply.facts
                count = reply.facts.get("images", {}).get("train", 0)
                self._diary.say(f"{name} takes part with {count} training images")
                for note in reply.facts.get("notes", ()):
                    self._diary.say(f"{name}: {note}")
                    self._diary.write({"site": name, "note": note})

    def _mismatch(self, facts: Mapping[str, Any]) -> str:
        """Why a site cannot take part; empty when it can."""
        ours = {"protocol": PROTOCOL, "version": version("resight")}
        for key, value in ours.items():
            if facts.get(key) != value:
                return f"{key} {facts.get(key)!r} at the site, {value!r} at the server"
        cohort = self._settings.cohort
        wanted = [] if cohort.label_column else list(cohort.labels or ())  # else whoever came first would decide
        if wanted and facts.get("labels") != wanted:
            return f"labels {facts.get('labels')} at the site, {wanted} at the server"
        first = next(iter(self.members.values()), None)
        for key in ("labels", "task", "horizons", "backbone"):
            if first is not None and facts.get(key) != first[key]:
                return f"{key} {facts.get(key)!r} at the site, {first[key]!r} at the others"
        if facts.get("channels") != (channels := self._settings.recipe.input_channels):
            return f"{facts.get('channels')} channels at the site, {channels} at the server"
        if facts.get("digest") != self._settings.digest():
            return "the site's settings are not those of the server, apart from where images lie"
        return ""
