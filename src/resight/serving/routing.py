"""Which model answers for which image, by what its header says (DICOM codes, not free text)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from resight.serving.schema import Instance
from resight.serving.settings import ModelEntry

_REFUSALS: Final = {
    "constant": "nothing can be seen",
    "inverted": "black and white are exchanged",
    "rotated": "not upright",
    "mirrored": "left and right are exchanged",
    "wrong-modality": "not like the images the model learned from",
}
"""What a sentinel of that name has seen."""


def fits(entry: ModelEntry, instance: Instance) -> bool:
    """Whether a model answers for an image."""
    if instance.state != "image" or (entry.modalities and instance.modality not in entry.modalities):
        return False
    return _is_one_of(instance.body_part, entry.body_parts, entry) and _is_one_of(instance.view, entry.views, entry)


def why_nobody_answers(instances: Iterable[Instance]) -> str:
    """Why no model answers for any of these, in words for the worklist."""
    everything = list(instances)
    images = [one for one in everything if one.state == "image"]
    if not images:
        reasons = sorted({one.reason for one in everything})
        return "no image: " + ("; ".join(reasons) if reasons else "the study is empty")
    kinds = sorted({" ".join(filter(None, (i.modality, i.body_part, i.view))) or "unknown kind" for i in images})
    return f"no model answers for these images: {', '.join(kinds)}"


def why_refused(entry: ModelEntry, alerts: Iterable[str]) -> str:
    """What the sentinels say that an image is refused for, as `not a frontal chest radiograph`; empty if nothing."""
    words = _REFUSALS | ({"wrong-modality": f"not a {entry.expects}"} if entry.expects else {})
    alarming = [alert for alert in alerts if alert in entry.refuse]
    return "refused: " + ", ".join(f"{words[one]} (sentinel {one})" for one in alarming) if alarming else ""


def _is_one_of(value: str, wanted: tuple[str, ...], entry: ModelEntry) -> bool:
    if not wanted:
        return True
    return value in wanted if value else entry.unknown_fits
