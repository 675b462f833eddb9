from __future__ import annotations

import pytest
import torch

from resight.errors import SettingsError
from resight.models import Ensemble, ModelOptions, build_classifier, several_answers

TINY = {"name": "resnet", "depth": 20, "width": 4}


def classifier(seed: int = 0, dropout: float = 0.0, drop_path: float = 0.0):
    torch.manual_seed(seed)
    backbone = {**TINY, "drop_path": drop_path, "zero_init": False}
    options = ModelOptions(backbone=backbone, head={"name": "linear", "dropout": dropout})
    return build_classifier(options, labels=("a", "b"), channels=1, dims=2).eval()


IMAGES = torch.randint(0, 256, (3, 1, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_members_answer_one_by_one() -> None:
    members = [classifier(0), classifier(1)]
    answers = several_answers(Ensemble(members, "mean_logits", "multilabel").eval(), IMAGES, "members")
    assert answers.shape == (2, 3, 2)
    torch.testing.assert_close(answers[1], members[1](IMAGES))


@pytest.mark.parametrize("kind", [{"dropout": 0.5}, {"drop_path": 0.5}])
def test_dropout_is_drawn_anew_and_leaves_everything_as_it_was(kind: dict[str, float]) -> None:
    model = classifier(**kind)
    before, state = model(IMAGES), torch.random.get_rng_state()
    answers = several_answers(model, IMAGES, "dropout", passes=6)
    assert answers.std(dim=0).min() > 0
    torch.testing.assert_close(several_answers(model, IMAGES, "dropout", passes=6), answers)
    torch.testing.assert_close(model(IMAGES), before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(part.training for part in model.modules())


def test_views_are_the_eight_ways_to_lay_a_square() -> None:
    model = classifier()
    answers = several_answers(model, IMAGES, "views")
    assert answers.shape == (8, 3, 2)
    torch.testing.assert_close(answers[1], model(IMAGES.flip(-1)))
    assert several_answers(model, IMAGES[..., :24], "views").shape[0] == 4


@pytest.mark.parametrize(("how", "said"), [("members", "an ensemble"), ("dropout", "has no dropout")])
def test_a_network_that_cannot_doubt_so_is_refused(how: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        several_answers(classifier(), IMAGES, how)


def test_volumes_have_no_views() -> None:
    with pytest.raises(SettingsError, match="volumes"):
        several_answers(classifier(), IMAGES[:, :, None], "views")
