"""What turns features into logits or probabilities: trained layers and closed-form classifiers."""

from resight.heads.base import CLASSIFIERS, HEADS, ClassifierBuilder, HeadBuilder

__all__ = ["CLASSIFIERS", "HEADS", "ClassifierBuilder", "HeadBuilder"]
