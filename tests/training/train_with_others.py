"""One process of a small training, for `test_distributed.py`: group normalisation, so that processes are equal."""

import argparse
import importlib.util
import json
import sys
import time
from pathlib import Path

import torch
from torch import nn

from resight.errors import ResightError
from resight.training import TrainingOptions, fit, predict_logits
from resight.training.distributed import process_group

spec = importlib.util.spec_from_file_location("kill_me", Path(__file__).with_name("kill_me.py"))
kill_me = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kill_me)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten()
        )
        self.last = nn.Linear(8 * 16, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.layers(images.float() / 255))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    options = TrainingOptions(
        epochs=3,
        batch_size=given.batch,
        accumulate=given.accumulate,
        precision="fp32",
        threads=1,
        checkpoint_every_s=0.02,
    )
    train, validation = kill_me.tiny_data(41, 0), kill_me.tiny_data(23, 1)
    try:
        with process_group() as mine:
            torch.manual_seed(7)
            net = Net()
            found = fit(
                net,
                train,
                validation,
                options,
                task="binary",
                folder=given.folder,
                resume=given.resume,
                progress=lambda *_: time.sleep(given.pause),
            )
            logits = predict_logits(net, validation, batch_size=given.batch, device=torch.device("cpu"))
            if mine.leads:
                facts = {"history": found.history, "logits": logits.ravel().tolist()}
                (given.folder / "result.json").write_text(json.dumps(facts))
    except ResightError as error:
        print(error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
