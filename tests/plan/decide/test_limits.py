"""Windows that the target platform cannot run are refused when the plan is built.

Source: docs/specification/config.md section 2.3.
"""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import linger_jax
from linger_jax import LingerError
from linger_jax.config import Platform
from linger_jax.errors import PlatformLimitError
from linger_jax.plan.decide.window_limits import check_window
from tests.models import AfterConv
from tests.plan.planned import planned, row_of

IMAGE = jax.ShapeDtypeStruct((1, 20, 20, 4), jnp.float32)

# platform: largest kernel, largest padding
LIMITS = {"venusA": (12, 11), "arcs": (12, 11), "mars": (12, 11), "venus": (5, 4)}


class Padded(nn.Module):
    """A convolution named ``deep.conv``."""

    kernel: int = 1
    stride: int = 1
    padding: object = 0

    @nn.compact
    def __call__(self, x):
        conv = nn.Conv(2, (self.kernel, 1), (self.stride, 1), self.padding, name="conv")
        return conv(x)


class Deep(nn.Module):
    conv: dict

    @nn.compact
    def __call__(self, x):
        return Padded(**self.conv, name="deep")(x)


@pytest.mark.parametrize("platform", LIMITS)
def test_largest_kernel_and_padding_pass_and_one_more_is_refused(platform):
    kernel, padding = LIMITS[platform]
    config = {"platform": platform}
    planned(Deep({"kernel": kernel, "padding": padding}), IMAGE, config=config)
    for wrong in ({"kernel": kernel + 1}, {"kernel": kernel, "padding": padding + 1}):
        with pytest.raises(PlatformLimitError):
            planned(Deep(wrong), IMAGE, config=config)


@pytest.mark.parametrize("platform", [*LIMITS, "jupiter"])
@pytest.mark.parametrize(("stride", "allowed"), [(1, True), (2, True), (3, False), (4, True), (5, False)])
def test_strides_are_one_two_or_four(platform, stride, allowed):
    model = Deep({"kernel": 2, "stride": stride})
    if allowed:
        planned(model, IMAGE, config={"platform": platform})
    else:
        with pytest.raises(PlatformLimitError, match=f"stride {stride} is outside what {platform} can run"):
            planned(model, IMAGE, config={"platform": platform})


def test_jupiter_checks_neither_kernel_nor_padding():
    planned(Deep({"kernel": 15, "padding": 13}), IMAGE, config={"platform": "jupiter"})


def test_error_names_layer_platform_value_range_and_remedy():
    text = (
        "layer 'deep.conv': kernel 6 is outside what venus can run (1 to 5). Change the layer, choose another "
        "platform, or leave the layer float with disable_submodel."
    )
    with pytest.raises(LingerError, match=re.escape(text)):
        planned(Deep({"kernel": 6, "padding": 2}), IMAGE, config={"platform": "venus"})


def test_layer_that_stays_float_is_not_checked():
    plan = planned(Deep({"kernel": 6}), IMAGE, config={"platform": "venus"}, disable_submodel="deep")
    assert row_of(plan, "deep.conv").status == "disabled"


def test_string_and_asymmetric_padding_are_checked_as_numbers():
    planned(Deep({"kernel": 9, "padding": "SAME"}), IMAGE)
    planned(Deep({"kernel": 3, "padding": ((0, 11), (0, 0))}), IMAGE)
    with pytest.raises(PlatformLimitError, match="padding 12"):
        planned(Deep({"kernel": 3, "padding": ((0, 12), (0, 0))}), IMAGE)


def test_transposed_convolution_is_checked_for_its_own_stride():
    model = nn.ConvTranspose(2, (2, 2), (3, 3))
    with pytest.raises(PlatformLimitError, match=r"layer '<root>': stride 3"):
        planned(model, jax.ShapeDtypeStruct((1, 4, 4, 2), jnp.float32))


def test_pool_is_checked_and_its_error_names_the_line():
    pool = AfterConv(lambda x: nn.max_pool(x, (3, 3), (3, 3)))
    with pytest.raises(PlatformLimitError, match=r"layer 'max_pool at test_limits\.py:\d+': stride 3"):
        planned(pool, IMAGE)


@pytest.mark.model  # Flax counts the cells of a window by running
def test_average_over_a_whole_axis_is_exempt_and_others_are_not():
    whole = AfterConv(lambda x: nn.avg_pool(x, (20, 2), (20, 2), count_include_pad=False))
    assert row_of(planned(whole, IMAGE), "_linger_avg_pool_0").status == "quantized"
    large = AfterConv(lambda x: nn.avg_pool(x, (13, 2), (1, 2), count_include_pad=False))
    with pytest.raises(PlatformLimitError, match=r"avg_pool at test_limits\.py:\d+': kernel 13"):
        planned(large, IMAGE)
    stride = AfterConv(lambda x: nn.avg_pool(x, (20, 2), (3, 2), count_include_pad=False))
    with pytest.raises(PlatformLimitError, match="stride 3"):
        planned(stride, IMAGE)


def test_constrained_model_is_not_checked():
    model = Deep({"kernel": 15})
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(IMAGE.shape)))
    plan = linger_jax.constrain(model).plan(variables, IMAGE)
    assert row_of(plan, "deep.conv").status == "constrained"


def test_every_platform_has_limits():
    for platform in Platform:
        check_window("layer", platform, kernel=[1], stride=[1], padding=[0])


STEMS = [(7, 2, 3, "arcs"), (7, 2, 3, "venus"), (16, 16, 0, "venusA"), (8, 8, 0, "venus"), (11, 4, 2, "venus")]


@pytest.mark.parametrize(("kernel", "stride", "padding", "platform"), STEMS)
def test_a_window_that_two_convolutions_compute_can_be_trained_for_the_chip(kernel, stride, padding, platform):
    window = {"kernel": [kernel] * 2, "stride": [stride] * 2, "padding": [padding] * 4}
    check_window("stem", Platform(platform), **window, in_two=True)
    if platform == "venus":
        with pytest.raises(PlatformLimitError):
            check_window("stem", Platform(platform), **window)


@pytest.mark.parametrize(("compat", "trained"), [("chip", True), ("reference", False)])
def test_only_the_chip_trains_windows_in_two(compat, trained):
    config = {"platform": "venus", "compat": compat}
    deep = Deep({"kernel": 7, "stride": 2, "padding": (3, 0)})
    if trained:
        planned(deep, IMAGE, config=config)
    else:
        with pytest.raises(PlatformLimitError):
            planned(deep, IMAGE, config=config)


@pytest.mark.parametrize(("kernel", "stride", "platform"), [(13, 2, "venus"), (7, 1, "venus"), (16, 16, "mars")])
def test_a_window_that_two_convolutions_do_not_compute_is_refused_all_the_same(kernel, stride, platform):
    with pytest.raises(PlatformLimitError):
        check_window("stem", Platform(platform), kernel=[kernel] * 2, stride=[stride] * 2, padding=[0] * 4, in_two=True)
