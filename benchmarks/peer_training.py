"""Plain script as an alternative to `glimpses train`: features in memory, one loop, one optimizer.

    python benchmarks/peer_training.py FEATURES SPLIT --epochs 10 --threads 2 --out weights.pt

FEATURES has a `.npy` file of cubes for each clip. SPLIT is a JSON file that maps "train" and
"validation" to the names of such files and their classes. An epoch is a few random blocks of each
clip, followed by scoring of the validation clips; the weights of the best epoch are saved. The
script does not import Glimpses.
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
    """Shape of a model; see `glimpses.models.ModelConfig`."""

    form: str
    places: int
    channels: int
    hidden: int
    attention_size: int
    dropout: float

    @property
    def classes(self) -> int:
        """Number of actions."""


class PlainLoop(nn.Module):
    """Attention model as a plain loop; its weights have the names of those of Glimpses."""

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
        """Return logits (B, T, C) of cubes (B, T, P, D)."""
        mean = cubes.mean((1, 2))
        state = []
        for start in (self.init_hidden, self.init_cell):
            inner = torch.tanh(start["inner"](self.drop(mean)))
            state.append(list(torch.tanh(start["outer"](self.drop(inner))).chunk(LAYERS, 1)))
        hidden, cell = state
        logits = []
        for step in range(cubes.shape[1]):
            cube = cubes[:, step]
            if "place" in self.attention:
                scores = self.attention["place"](hidden[-1])
            else:
                query = self.attention["query"](hidden[-1]).unsqueeze(1)
                activation = torch.tanh(self.attention["key"](cube) + query)
                scores = self.attention["score"](activation).squeeze(-1)
            x = (cube * torch.softmax(scores, 1).unsqueeze(-1)).sum(1)
            for layer, lstm in enumerate(self.cells):
                hidden[layer], cell[layer] = lstm(self.drop(x), (hidden[layer], cell[layer]))
                x = hidden[layer]
            logits.append(self.head(x))
        return torch.stack(logits, 1)


def main() -> None:
    """Train on a folder of features."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("features", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--blocks", type=int, help="blocks of each clip in an epoch")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    split = json.loads(options.split.read_text())
    cubes = {
        name: torch.from_numpy(np.load(options.features / name)).float()
        for subset in split.values()
        for name in subset
    }
    all_cubes = torch.cat(list(cubes.values()))
    mean, deviation = all_cubes.mean((0, 1)), all_cubes.std((0, 1)) + 1e-5
    cubes = {name: (cube - mean) / deviation for name, cube in cubes.items()}
    places, channels = all_cubes.shape[1:]
    model = PlainLoop(
        SimpleNamespace(
            form="content", places=places, channels=channels, hidden=128, attention_size=64,
            dropout=0.2, classes=1 + max(split["train"].values()),
        )
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=2e-5)
    best = -1.0
    for _ in range(options.epochs):
        model.train()
        names = [name for name in split["train"] for _ in range(options.blocks)]
        for indices in torch.randperm(len(names)).split(32):
            batch, targets = [], []
            for index in indices.tolist():
                cube = cubes[names[index]]
                start = int(torch.randint(max(len(cube) - 10, 0) + 1, ()))
                batch.append(cube[start : start + 10])
                targets.append(split["train"][names[index]])
            logits = model(torch.stack(batch))
            optimizer.zero_grad()
            F.cross_entropy(
                logits.flatten(0, 1), torch.tensor(targets).repeat_interleave(10)
            ).backward()
            optimizer.step()
        model.eval()
        correct = 0
        with torch.inference_mode():
            for name, target in split["validation"].items():
                blocks = torch.stack(cubes[name].split(10))
                correct += int(model(blocks).softmax(-1).mean((0, 1)).argmax() == target)
        if correct > best:
            best = correct
            torch.save(model.state_dict(), options.out)


if __name__ == "__main__":
    main()
