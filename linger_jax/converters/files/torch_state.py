"""A PyTorch state dict, cleaned: wrappers opened, prefixes of parallel and compiled models removed, floats widened."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from linger_jax.converters.files.byte_order import has_swapped_bytes
from linger_jax.converters.files.checkpoint_files import read_checkpoint_file
from linger_jax.converters.files.packed_tensors import Part, unpacked
from linger_jax.converters.files.weight_normalization import NormalisedWeight
from linger_jax.errors import ConversionError
from linger_jax.foreign_file import require_name, translated
from linger_jax.typing import HostArray

# Where training scripts put the state dict inside what they save, the more specific name first.
WRAPPERS = ("model_state_dict", "state_dict", "model", "net", "module")
# Written in front of every key by torch.nn.DataParallel (also distributed) and torch.compile.
_PARALLEL, _COMPILED = "module", "_orig_mod"
# A tensor above this size may not repeat the numbers in the file more often than this, nor for more bytes than that.
_LARGEST_INFLATED, _MOST_INFLATION, _MOST_REPEATED = 1 << 24, 64, 1 << 27
# Mappings around a state dict: a checkpoint in a checkpoint.
_MOST_WRAPPERS = 8
# BatchNorm's counter of training batches, which Flax does not have.
COUNTER = "num_batches_tracked"


@dataclasses.dataclass(frozen=True, eq=False)
class TorchState:
    """Tensors by cleaned key.

    Attributes:
      name: the file, or what was passed.
      tensors: PyTorch tensors or arrays, untouched.
      prefixes: what was removed from the keys.
      dropped: keys that are no weights of the model, with the reason.
      parts: where keys come from that are not the checkpoint's (attention's packed projections).
      normalised: weights that the checkpoint has in two factors, by their keys.
      owned: the tensors were read from a file for this import, so that each may be forgotten once it is converted.
    """

    name: str
    tensors: dict[str, Any]
    prefixes: tuple[str, ...]
    dropped: tuple[tuple[str, str], ...]
    parts: Mapping[str, Part] = dataclasses.field(default_factory=dict)
    normalised: Mapping[str, NormalisedWeight] = dataclasses.field(default_factory=dict)
    owned: bool = False

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        return tuple(int(n) for n in self.tensors[key].shape)

    def storage(self, key: str) -> tuple[Any, ...] | None:
        """Equal for two keys that are the same tensor (tied weights); None where that cannot be known."""
        tensor = self.tensors[key]
        if not hasattr(tensor, "data_ptr") or tensor.numel() == 0 or _without_values(tensor):
            return None
        return (tensor.data_ptr(), self.shape(key), tuple(tensor.stride()), tensor.dtype)

    def copied(self, key: str, other: str) -> bool:
        """Whether two weights hold the same numbers, which only copies of one do; vectors may by chance."""
        one, two = self.tensors[key], self.tensors[other]
        if len(self.shape(key)) < 2 or self.shape(key) != self.shape(other) or one.dtype != two.dtype:
            return False
        if not (_has_values(one) and _has_values(two)):
            return False
        array = self.raw(key)
        return bool(array.size) and bool((array != array.flat[0]).any()) and np.array_equal(array, self.raw(other))

    def release(self, key: str) -> None:
        """Forgets the values of a tensor, where they were read for this import; its shape and dtype stay."""
        if self.owned:
            self.tensors[key] = released(self.tensors[key])

    def other_float(self, key: str) -> str | None:
        """The dtype of a tensor of real numbers that are not in float32, without reading it."""
        stored = str(self.tensors[key].dtype).removeprefix("torch.")
        return None if stored in ("float32", "bool") or "int" in stored else stored

    def raw(self, key: str) -> HostArray:
        """Values as they are, half precision widened; not-a-number included."""
        array = _numpy(self.tensors[key], f"{self.name}: {key}")
        return array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array

    def array(self, key: str) -> tuple[HostArray, str | None]:
        """Values in float32 (or an integer type), and the dtype of the file where it was another.

        Raises:
          ConversionError: values that are not finite, or of a type that is no plain number.
        """
        tensor = self.tensors[key]
        array = _numpy(tensor, f"{self.name}: {key}")
        stored = str(tensor.dtype).removeprefix("torch.")
        if array.dtype == np.bool_ or np.issubdtype(array.dtype, np.integer):
            return array, None
        if not np.issubdtype(array.dtype, np.floating) and array.dtype != ml_dtypes.bfloat16:
            raise ConversionError(f"{self.name}: {key} has dtype {stored}; weights are real numbers")
        array = array.astype(np.float32, copy=False)
        if has_swapped_bytes(array):
            raise ConversionError(
                f"{self.name}: the numbers of {key} make sense only with their bytes in the other order; the file was "
                f"written on a machine of the other endianness, or damaged: save it again with torch.save there"
            )
        if not np.isfinite(array).all():
            bad = int(array.size - np.isfinite(array).sum())
            raise ConversionError(
                f"{self.name}: {key} has {bad} of {array.size} values that are NaN or infinite; "
                f"take a checkpoint from before training diverged"
            )
        return array, self.other_float(key)


@dataclasses.dataclass(frozen=True)
class ReleasedTensor:
    """What is left of a tensor that is not needed any more."""

    shape: tuple[int, ...]
    dtype: Any


def released(tensor: Any) -> ReleasedTensor:
    """Shape and dtype of a tensor."""
    return ReleasedTensor(tuple(tensor.shape), tensor.dtype)


def read_state(source: Any, *, counters: bool = False, values: bool = True) -> TorchState:
    """Reads a checkpoint.

    Args:
      source: path of a file of ``torch.save``, of a ``.safetensors`` file or of a folder of shards; a state dict, a
        mapping that holds one under a usual name (``state_dict``, ``model``, ``model_state_dict``, ...), or a
        ``torch.nn.Module``.
      counters: keep BatchNorm's counters of training batches.
      values: False where shapes and dtypes are enough, so that a file need not be read whole.

    Raises:
      ConversionError: no such file, a damaged one, or contents that are not a mapping of tensors.
    """
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        contents = read_checkpoint_file(source, values=values)
    elif not isinstance(source, Mapping) and callable(getattr(source, "state_dict", None)):
        name = f"state_dict() of {type(source).__name__}"
        contents = source.state_dict()
    else:
        name = "the given state_dict"
        contents = source
    with translated(name, ConversionError, "is no state_dict"):
        return _cleaned_state(name, contents, source, counters=counters)


def _cleaned_state(name: str, contents: Any, source: Any, *, counters: bool) -> TorchState:
    tensors, dropped = _unwrap(name, contents)
    cleaned, prefixes = _without_prefixes(name, tensors)
    whole = unpacked(cleaned)
    cleaned = dict(whole.tensors)
    for key, weight in whole.normalised.items():
        dropped += [(factor, f"a factor of the normalised {key}") for factor in (weight.g_key, weight.v_key)]
    kept = {key: tensor for key, tensor in cleaned.items() if counters or not key.endswith(COUNTER)}
    dropped += [(key, "counter of training batches") for key in cleaned if key not in kept]
    if not kept:
        raise ConversionError(f"{name}: holds no tensors")
    owned = isinstance(source, (str, os.PathLike))
    return TorchState(name, kept, prefixes, tuple(dropped), whole.parts, whole.normalised, owned)


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, type)


def _unwrap(name: str, contents: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    dropped: list[tuple[str, str]] = []
    where = name
    opened: set[int] = set()
    while True:
        if not isinstance(contents, Mapping):
            raise ConversionError(
                f"{where}: is a {type(contents).__name__}, not a mapping of tensors; "
                f"save the model's state_dict() and pass that"
            )
        opened.add(id(contents))
        inner = next((key for key in WRAPPERS if _holds_tensors(contents.get(key), opened)), None)
        if inner is None:
            break
        if len(opened) > _MOST_WRAPPERS:
            raise ConversionError(f"{where}: lies in more than {_MOST_WRAPPERS} mappings; pass the state_dict itself")
        others = [str(key) for key in contents if key != inner]
        rivals = [key for key in others if key in WRAPPERS and _holds_tensors(contents[key], opened)]
        if rivals:
            raise ConversionError(
                f"{where}: holds several models ({', '.join([inner, *rivals])}); pass the one to import, "
                f"for example torch.load(...)[{inner!r}]"
            )
        dropped += [(key, f"beside {inner!r}") for key in others]
        contents, where = contents[inner], f"{where}[{inner!r}]"
    named = {require_name(str(key), name, ConversionError): value for key, value in contents.items()}
    if len(named) != len(contents):
        raise ConversionError(f"{where}: two of its keys are equal as text; keys of a state_dict are text")
    nameless = [key for key in named if "" in key.split(".")]
    if nameless:
        raise ConversionError(f"{where}: the key {nameless[0]!r} has an empty part; modules and parameters have names")
    strange = [key for key, value in named.items() if not _is_tensor(value)]
    states = [key for key in strange if key.endswith("_extra_state")]
    dropped += [(key, "extra state of a module, no tensor") for key in states]
    rest = [key for key in strange if key not in states]
    if rest:
        raise ConversionError(
            f"{where}: is not a mapping of tensors: {', '.join(rest[:5])}{', ...' if len(rest) > 5 else ''} "
            f"({rest[0]} is a {type(named[rest[0]]).__name__}); pass the model's state_dict()"
        )
    return {key: value for key, value in named.items() if _is_tensor(value)}, dropped


def _holds_tensors(value: Any, opened: Collection[int]) -> bool:
    """Whether there are tensors in a mapping, or in one in it under the usual names; a file may hold itself.

    Args:
      value: anything.
      opened: mappings (``id``) that are not looked into again.
    """
    left, seen = [value], set(opened)
    while left:
        found = left.pop()
        if not isinstance(found, Mapping) or id(found) in seen:
            continue
        seen.add(id(found))
        if any(_is_tensor(v) for v in found.values()):
            return True
        left += [found.get(key) for key in WRAPPERS]
    return False


def _without_prefixes(name: str, tensors: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Removes ``_orig_mod`` wherever it stands and ``module.`` where every key starts with it."""
    prefixes: dict[str, None] = {}
    cleaned: dict[str, Any] = {}
    tensors = {key: value for key, value in tensors.items() if key != "n_averaged"}  # AveragedModel's own counter
    while True:
        keys = [key.split(".") for key in tensors]
        if any(_COMPILED in parts[:-1] for parts in keys):
            prefixes[f"{_COMPILED}."] = None
            renamed = [".".join(p for p in parts[:-1] if p != _COMPILED) for parts in keys]
            renamed = [f"{head}.{parts[-1]}" if head else parts[-1] for head, parts in zip(renamed, keys, strict=True)]
        elif keys and all(len(parts) > 1 and parts[0] == _PARALLEL for parts in keys):
            prefixes[f"{_PARALLEL}."] = None
            renamed = [".".join(parts[1:]) for parts in keys]
        else:
            return tensors, tuple(prefixes)
        cleaned = dict(zip(renamed, tensors.values(), strict=True))
        if len(cleaned) != len(tensors):
            raise ConversionError(f"{name}: two keys are equal without the prefixes {', '.join(prefixes)}")
        tensors = cleaned


def _numpy(tensor: Any, where: str) -> HostArray:
    if isinstance(tensor, NormalisedWeight):
        return tensor.product(*_factors(tensor, where))
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    if tensor.device.type == "meta":
        raise ConversionError(f"{where} has no values (a meta tensor)")
    if tensor.is_quantized or _without_values(tensor):
        raise ConversionError(f"{where} is a quantized or sparse tensor; save it dense, in float")
    _refuse_inflated(tensor, where)
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if str(tensor.dtype) in ("torch.float16", "torch.bfloat16"):
        tensor = tensor.float()
    return np.asarray(tensor.numpy())


def _factors(weight: NormalisedWeight, where: str) -> tuple[HostArray, HostArray]:
    g, v = (_numpy(tensor, where).astype(np.float32) for tensor in (weight.g, weight.v))
    return g, v


def in_factors(arrays: Mapping[str, HostArray], normalised: Mapping[str, NormalisedWeight]) -> dict[str, HostArray]:
    """A state dict with the weights in two factors that an imported checkpoint had so."""
    result = dict(arrays)
    for key, weight in normalised.items():
        if key in arrays:
            g, v = weight.factors(result.pop(key), *_factors(weight, key))
            result |= {weight.g_key: g, weight.v_key: v}
    return result


def _refuse_inflated(tensor: Any, where: str) -> None:
    """A tensor may repeat its numbers (``expand``); a file of some bytes that stands for gigabytes is no checkpoint."""
    claimed, stored = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
    inflated = claimed > _LARGEST_INFLATED and claimed > _MOST_INFLATION * stored
    if inflated or claimed - stored > _MOST_REPEATED:
        raise ConversionError(
            f"{where} claims {claimed:,} bytes with {stored:,} in the file; save it contiguous if that is meant"
        )


def _without_values(tensor: Any) -> bool:
    """Whether there is no memory that holds one number an element."""
    return tensor.device.type == "meta" or str(tensor.layout) != "torch.strided"


def _has_values(tensor: Any) -> bool:
    return isinstance(tensor, np.ndarray) or (hasattr(tensor, "data_ptr") and not _without_values(tensor))
