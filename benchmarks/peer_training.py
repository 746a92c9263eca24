"""What anyone would write instead of `glimpses train`: features in memory, one loop, one optimiser.

    python benchmarks/peer_training.py FEATURES SPLIT --epochs 10 --threads 2 --out weights.pt

FEATURES holds a `.npy` of cubes for each clip; SPLIT is JSON: by "train" and "validation", the
names of such files with the class of each. An epoch is a few random blocks of each clip, and the
clips of validation are scored after it; the best epoch's weights are saved. It imports nothing of
Glimpses.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYERS = 3


class Shape(Protocol):
    """Of a model; see `glimpses.models.ModelConfig`."""

    form: str
    places: int
    channels: int
    hidden: int
    attention_size: int
    dropout: float

    @property
    def classes(self) -> int:
        """How many actions."""


class PlainLoop(nn.Module):
    """The model as anyone would write it; its weights have the names of ours."""

    def __init__(self, size: Shape) -> None:
        super().__init__()
        d, width, p = size.hidden, size.channels, size.dropout
        self.init_hidden, self.init_cell = (
            nn.ModuleDict({"inner": nn.Linear(width, d), "outer": nn.Linear(d, LAYERS * d)})
            for _ in range(2)
        )
        self.cells = nn.ModuleList(
            nn.LSTMCell(width if layer == 0 else d, d) for layer in range(LAYERS)
        )
        inner = size.attention_size
        self.attention = nn.ModuleDict(
            {"place": nn.Linear(d, size.places, bias=False)}
            if size.form == "location"
            else {
                "key": nn.Linear(width, inner),
                "query": nn.Linear(d, inner, bias=False),
                "score": nn.Linear(inner, 1, bias=False),
            }
        )
        self.head = nn.Sequential(
            nn.Dropout(p), nn.Linear(d, d), nn.Tanh(), nn.Dropout(p), nn.Linear(d, size.classes)
        )
        self.drop = nn.Dropout(p)

    def forward(self, cubes: Tensor) -> Tensor:
        """(B, T, P, D) to logits (B, T, C)."""
        mean = cubes.mean((1, 2))
        state = []
        for start in (self.init_hidden, self.init_cell):
            inner = torch.tanh(start["inner"](self.drop(mean)))
            state.append(list(torch.tanh(start["outer"](self.drop(inner))).chunk(LAYERS, 1)))
        hidden, cell = state
        said = []
        for step in range(cubes.shape[1]):
            cube = cubes[:, step]
            if "place" in self.attention:
                scores = self.attention["place"](hidden[-1])
            else:
                query = self.attention["query"](hidden[-1]).unsqueeze(1)
                bent = torch.tanh(self.attention["key"](cube) + query)
                scores = self.attention["score"](bent).squeeze(-1)
            x = (cube * torch.softmax(scores, 1).unsqueeze(-1)).sum(1)
            for layer, lstm in enumerate(self.cells):
                hidden[layer], cell[layer] = lstm(self.drop(x), (hidden[layer], cell[layer]))
                x = hidden[layer]
            said.append(self.head(x))
        return torch.stack(said, 1)


def main() -> None:
    """Train on a folder of features."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("features", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--blocks", type=int, help="of each clip in an epoch")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    split = json.loads(given.split.read_text())
    cubes = {
        name: torch.from_numpy(np.load(given.features / name)).float()
        for side in split.values()
        for name in side
    }
    every = torch.cat(list(cubes.values()))
    mean, deviation = every.mean((0, 1)), every.std((0, 1)) + 1e-5
    cubes = {name: (cube - mean) / deviation for name, cube in cubes.items()}
    places, channels = every.shape[1:]
    model = PlainLoop(
        SimpleNamespace(
            form="content", places=places, channels=channels, hidden=128, attention_size=64,
            dropout=0.2, classes=1 + max(split["train"].values()),
        )
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=2e-5)
    best = -1.0
    for _ in range(given.epochs):
        model.train()
        names = [name for name in split["train"] for _ in range(given.blocks)]
        for chosen in torch.randperm(len(names)).split(32):
            batch, targets = [], []
            for at in chosen.tolist():
                cube = cubes[names[at]]
                start = int(torch.randint(max(len(cube) - 10, 0) + 1, ()))
                batch.append(cube[start : start + 10])
                targets.append(split["train"][names[at]])
            logits = model(torch.stack(batch))
            optimiser.zero_grad()
            F.cross_entropy(
                logits.flatten(0, 1), torch.tensor(targets).repeat_interleave(10)
            ).backward()
            optimiser.step()
        model.eval()
        right = 0
        with torch.inference_mode():
            for name, target in split["validation"].items():
                blocks = torch.stack(cubes[name].split(10))
                right += int(model(blocks).softmax(-1).mean((0, 1)).argmax() == target)
        if right > best:
            best = right
            torch.save(model.state_dict(), given.out)


if __name__ == "__main__":
    main()
