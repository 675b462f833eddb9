from __future__ import annotations

import pytest
import torch

from resight.models import Ensemble
from resight.types import Task


@pytest.mark.parametrize(
    ("task", "activation"), [("multilabel", torch.sigmoid), ("multiclass", lambda x: x.softmax(1))]
)
def test_members_answer_together(make_classifier, task: Task, activation) -> None:
    members = [make_classifier(seed) for seed in range(3)]
    images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    logits = torch.stack([member(images) for member in members])
    torch.testing.assert_close(Ensemble(members, "mean_logits", task)(images), logits.mean(0))
    mean = torch.stack([activation(one) for one in logits]).mean(0)
    torch.testing.assert_close(activation(Ensemble(members, "mean_probabilities", task)(images)), mean)


def test_sure_members_do_not_become_infinite(make_classifier) -> None:
    member = make_classifier()
    with torch.no_grad():
        member.head.fc.bias.fill_(500.0)
    logits = Ensemble([member, member], "mean_probabilities", "multilabel")(torch.zeros(1, 1, 32, 32))
    assert torch.isfinite(logits).all()
    assert logits.min() > 400
