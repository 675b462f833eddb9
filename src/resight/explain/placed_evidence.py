"""Evidence kept on the small grid that the network saw, and laid onto the image one plane at a time.

A CT of 500 slices has 130 million voxels: its maps on the image's own grid would take half a gigabyte for each label.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from resight.explain.image_grid import onto_image_grid
from resight.preprocess.geometry import between_grids

_SAMPLED_PX = 64
"""Longest side of the planes on which slices are compared; the networks' own maps are coarser."""


@dataclass(frozen=True, eq=False)
class PlacedEvidence:
    """Maps of some labels and where they lie on an image.

    Attributes:
        labels: names, in the order of the maps.
        maps: on the prepared grid.
        grid: matrix from indices of the prepared grid to indices of the image, as `Recipe.grid` gives it.
        space: shape of the image: `(H, W)` or `(D, H, W)`.
    """

    labels: tuple[str, ...]
    maps: Float[np.ndarray, "L *prepared"]
    grid: Float[np.ndarray, "R R"]
    space: tuple[int, ...]
    _profiles: dict[str, Float[np.ndarray, " D"]] = field(default_factory=dict, init=False, repr=False)

    def on(self, space: tuple[int, ...]) -> PlacedEvidence:
        """The same on an image of another size that shows the same part of the patient."""
        return replace(self, grid=between_grids(self.space, space) @ self.grid, space=space)

    def turned(self, axes: str) -> PlacedEvidence:
        """The same on a volume in the order it was stored in.

        Args:
            axes: what `imaging.geometry.to_lps` reported of it, as `+0-1+2`.
        """
        move, space = np.zeros((4, 4)), list(self.space)
        move[3, 3] = 1
        for i, (sign, axis) in enumerate(zip(axes[::2], map(int, axes[1::2]), strict=True)):
            move[axis, i] = -1 if sign == "-" else 1
            move[axis, 3] = self.space[i] - 1 if sign == "-" else 0
            space[axis] = self.space[i]
        return replace(self, grid=move @ self.grid, space=tuple(space))

    def plane(self, label: str, place: int = 0) -> Float[np.ndarray, "H W"]:
        """The map of a label on an image, or on one slice of a volume."""
        one = self.maps[[self.labels.index(label)]]
        if len(self.space) == 2:
            return onto_image_grid(one, self.grid, self.space)[0]
        moved = self.grid.copy()
        moved[0, -1] -= place
        return onto_image_grid(one, moved, (1, *self.space[1:]))[0, 0]

    def profile(self, label: str) -> Float[np.ndarray, " D"]:
        """Strongest evidence for a label on each slice of a volume, or on the one plane of an image; never below 0."""
        if label in self._profiles:
            return self._profiles[label]
        depth = self.space[:-2]
        height, width = (min(side, _SAMPLED_PX) for side in self.space[-2:])
        small = self.on((*depth, height, width))
        found = onto_image_grid(small.maps[[self.labels.index(label)]], small.grid, small.space)[0]
        self._profiles[label] = np.nan_to_num(found).reshape(-1, height * width).max(axis=1).clip(min=0)
        return self._profiles[label]


def telling_slices(profile: Float[np.ndarray, " D"], count: int) -> list[int]:
    """The slices with the strongest evidence in order of place; no two of them next to each other in a deep volume.

    Args:
        profile: of `PlacedEvidence.profile`.
        count: at most so many; none without evidence.
    """
    left, found = profile.astype(np.float64).copy(), list[int]()
    apart = len(profile) // (4 * count)
    while len(found) < count and left.max(initial=0.0) > 0:
        place = int(np.argmax(left))
        found.append(place)
        left[max(0, place - apart) : place + apart + 1] = 0
    return sorted(found)
