"""LayerNorm over several axes: its weight is a matrix to PyTorch, and still no Linear's."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import pytest
import torch

from tests.converters.twins import assert_twins, example

SHAPE = (2, 4, 5)


class TorchNet(torch.nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.first = torch.nn.Linear(5, 5)
        self.norm = torch.nn.LayerNorm([4, 5], bias=bias)
        self.last = torch.nn.Linear(5, 4)

    def forward(self, x: Any) -> Any:
        return self.last(self.norm(self.first(x)))


class FlaxNet(nn.Module):
    bias: bool
    named: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        first, norm, last = ("first", "norm", "last") if self.named else (None, None, None)
        x = nn.Dense(5, name=first)(x)
        axes = (-2, -1)
        norm_layer = nn.LayerNorm(1e-5, use_bias=self.bias, reduction_axes=axes, feature_axes=axes, name=norm)
        return nn.Dense(4, name=last)(norm_layer(x))


@pytest.mark.parametrize(("bias", "named"), [(True, True), (False, True), (True, False)])
def test_layer_norm_over_two_axes(bias: bool, named: bool) -> None:
    x = example(*SHAPE)
    report = assert_twins(TorchNet(bias), FlaxNet(bias, named), x, flax_x=x)
    assert {row.how for row in report.rows} == {"name" if named else "order"}
