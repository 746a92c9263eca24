"""Models from feature cubes to logits and attention at every step."""

from __future__ import annotations

from glimpses.models.attention import (
    ContentAttention,
    Glimpse,
    LocationAttention,
    SpatialAggregator,
)
from glimpses.models.authors import AuthorsModel
from glimpses.models.base import ActionModel, ConvexModel, HardSample, ModelOutput, State
from glimpses.models.baselines import AveragePooledLSTM, MaxPooledLSTM, SoftmaxRegression
from glimpses.models.config import (
    AuthorsOptions,
    CubeShape,
    ModelConfig,
    ModelOptions,
    Statistic,
    supported_options,
)
from glimpses.models.hard_attention import HardAttention
from glimpses.models.linear import LinearModel
from glimpses.models.losses import Loss, attention_penalty, reinforce_loss, sequence_loss
from glimpses.models.motion import MotionAttentionModel
from glimpses.models.multiscale import MultiScaleAttention, SliceLayout
from glimpses.models.normalization import ChannelNorm
from glimpses.models.recurrent import RecurrentAttentionModel
from glimpses.models.registry import MODELS, ModelEntry, build_meta_model, build_model

__all__ = [
    "MODELS", "ActionModel", "AuthorsModel", "AuthorsOptions", "AveragePooledLSTM", "ChannelNorm",
    "ContentAttention", "ConvexModel", "CubeShape", "Glimpse", "HardAttention", "HardSample",
    "LinearModel", "LocationAttention", "Loss", "MaxPooledLSTM", "ModelConfig", "ModelEntry",
    "ModelOptions", "ModelOutput", "MotionAttentionModel", "MultiScaleAttention",
    "RecurrentAttentionModel", "SliceLayout", "SoftmaxRegression", "SpatialAggregator", "State",
    "Statistic", "attention_penalty", "build_meta_model", "build_model", "reinforce_loss",
    "sequence_loss", "supported_options",
]  # fmt: skip
