"""Parts that networks are built of."""

from resight.blocks.acs import ACSConv
from resight.blocks.base import (
    ATTENTION,
    CONV,
    MAX_POOL,
    AttentionBuilder,
    AttentionLayer,
    Gates,
    Norm,
    NormLayer,
    build_attention,
    build_norm,
    over_space,
)
from resight.blocks.checkpointing import run_checkpointed
from resight.blocks.drop_path import DropPath
from resight.blocks.flops import counting_flops
from resight.blocks.gate import Gate, watching_gates
from resight.blocks.pooling import PartPooling, Pooling
from resight.blocks.residual import BasicUnit, BottleneckUnit, ResidualUnit, UnitStyle

__all__ = [
    "ATTENTION",
    "CONV",
    "MAX_POOL",
    "ACSConv",
    "AttentionBuilder",
    "AttentionLayer",
    "BasicUnit",
    "BottleneckUnit",
    "DropPath",
    "Gate",
    "Gates",
    "Norm",
    "NormLayer",
    "PartPooling",
    "Pooling",
    "ResidualUnit",
    "UnitStyle",
    "build_attention",
    "build_norm",
    "counting_flops",
    "over_space",
    "run_checkpointed",
    "watching_gates",
]
