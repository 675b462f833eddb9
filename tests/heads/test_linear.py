from __future__ import annotations

import pytest
import torch

from resight.errors import SettingsError
from resight.heads import HEADS


def test_logits_are_the_matrix_product_and_dropout_rests_in_evaluation() -> None:
    head = HEADS.build("linear", {"dropout": 0.5}, in_features=4, n_labels=2)
    features = torch.randn(3, 4)
    expected = features @ head.fc.weight.T + head.fc.bias
    torch.testing.assert_close(head.eval()(features), expected)
    torch.manual_seed(0)
    assert not torch.allclose(head.train()(features), expected)


def test_dropout_of_everything_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"dropout = 1\.0"):
        HEADS.build("linear", {"dropout": 1.0}, in_features=4, n_labels=2)
