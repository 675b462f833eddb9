"""Images to arrays: the recipe, augmentation, and the store of prepared images."""

from resight.preprocess.augment import Augmentation, AugmentParams, Mixup, MixupParams
from resight.preprocess.recipe import Modality, Recipe
from resight.preprocess.store import Store

__all__ = ["AugmentParams", "Augmentation", "Mixup", "MixupParams", "Modality", "Recipe", "Store"]
