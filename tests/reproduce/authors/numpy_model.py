"""Float64 NumPy transcription of the authors' model, one block, step and place at a time.

It follows the array names and the order of operations of the authors' code and imports nothing from
Glimpses.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def draw(
    seed: int, *, channels: int, hidden: int, inner: int, classes: int,
    attention: int = 1, start: int = 1, output: int = 1,
    selector: bool = False, glimpse_to_output: bool = False,
) -> Arrays:  # fmt: skip
    """Return random arrays with every name that the authors' code saves for these options."""
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.6, shape).astype(np.float32)

    layers = {"ff_state": (channels, hidden), "ff_memory": (channels, hidden)}
    layers |= {f"ff_init_{k}": (channels, channels) for k in range(1, start)}
    layers["ff_logit_lstm"] = (hidden, inner)
    if glimpse_to_output:
        layers["ff_logit_ctx"] = (channels, inner)
    layers |= {f"ff_logit_h{k}": (inner, inner) for k in range(1, output)}
    layers["ff_logit"] = (inner, classes)
    w = {f"{name}_W": random(*shape) for name, shape in layers.items()}
    w |= {f"{name}_b": random(shape[1]) for name, shape in layers.items()}
    w |= {
        "decoder_W": random(channels, 4 * hidden),
        "decoder_U": random(hidden, 4 * hidden),
        "decoder_b": random(4 * hidden),
        "decoder_Wc_att": random(channels, channels),
        "decoder_Wd_att": random(hidden, channels),
        "decoder_b_att": random(channels),
        "decoder_U_att": random(channels, 1),
        "decoder_c_tt": random(1),
    }
    for k in range(1, attention):
        w[f"decoder_W_att_{k}"] = random(channels, channels)
        w[f"decoder_b_att_{k}"] = random(channels)
    if selector:
        w |= {"decoder_W_sel": random(hidden, 1), "decoder_b_sel": random()}
    return w


def save(file: Any, arrays: Arrays) -> None:
    """Write a `model.npz` as the authors' training does: with records and pickled arrays."""
    np.savez(
        file, zipped_params=arrays, train_err=0.9, valid_err=0.8, test_err=0.7,
        history_errs=[[0.5, 0.4], [0.8, 0.7]], **arrays,
    )  # type: ignore[arg-type]  # fmt: skip


def run(
    w: Arrays, cubes: np.ndarray, mask: np.ndarray, *, inverse_temperature: float, dropout: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return test logits (B, T, C) and attention (B, T, P) at every step, masked ones included."""
    w = {name: array.astype(np.float64) for name, array in w.items()}
    half = 0.5 if dropout else 1.0
    batch, steps, places, _ = cubes.shape
    hidden = w["decoder_U"].shape[0]
    logits, attention_maps = [], []
    for b in range(batch):
        frames = [cubes[b, t].mean(0) for t in range(steps) if mask[b, t]]
        m, k = sum(frames) / len(frames), 1
        while f"ff_init_{k}_W" in w:
            m = half * np.maximum(0, m @ w[f"ff_init_{k}_W"] + w[f"ff_init_{k}_b"])
            k += 1
        h = np.tanh(m @ w["ff_state_W"] + w["ff_state_b"])
        c = np.tanh(m @ w["ff_memory_W"] + w["ff_memory_b"])
        for t in range(steps):
            e = np.zeros(places)
            for place in range(places):
                p = cubes[b, t, place] @ w["decoder_Wc_att"] + w["decoder_b_att"]
                last = sum(name.startswith("decoder_W_att_") for name in w)
                for k in range(1, last + 1):
                    p = p @ w[f"decoder_W_att_{k}"] + w[f"decoder_b_att_{k}"]
                    p = np.tanh(p) if k < last else p
                p = np.tanh(p + h @ w["decoder_Wd_att"])
                e[place] = (p @ w["decoder_U_att"] + w["decoder_c_tt"]).item()
            weight = np.exp(inverse_temperature * e)
            alpha = weight / weight.sum()
            z = sum(alpha[place] * cubes[b, t, place] for place in range(places))
            if "decoder_W_sel" in w:
                z = z * sigmoid((h @ w["decoder_W_sel"]).item() + float(w["decoder_b_sel"]))
            preact = h @ w["decoder_U"] + z @ w["decoder_W"] + w["decoder_b"]
            i, f, o, g = (preact[n * hidden : (n + 1) * hidden] for n in range(4))
            new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            on = float(mask[b, t])
            c = on * new + (1 - on) * c
            h = on * sigmoid(o) * np.tanh(new) + (1 - on) * h
            y = half * h @ w["ff_logit_lstm_W"] + w["ff_logit_lstm_b"]
            if "ff_logit_ctx_W" in w:
                y = y + z @ w["ff_logit_ctx_W"] + w["ff_logit_ctx_b"]
            y, k = half * np.tanh(y), 1
            while f"ff_logit_h{k}_W" in w:
                y = half * np.maximum(0, y @ w[f"ff_logit_h{k}_W"] + w[f"ff_logit_h{k}_b"])
                k += 1
            logits.append(y @ w["ff_logit_W"] + w["ff_logit_b"])
            attention_maps.append(alpha)
    return np.reshape(logits, (batch, steps, -1)), np.reshape(
        attention_maps, (batch, steps, places)
    )


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))
