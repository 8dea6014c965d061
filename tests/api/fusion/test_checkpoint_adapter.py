"""Renaming keys of PyTorch checkpoints (docs/specification/layers.md section 5.3, adapter)."""

import json

import pytest

from linger_jax import CheckpointAdapter, LingerError

ADAPTER = CheckpointAdapter([("block.conv1", "block.bn1"), ("conv2", "bn2")])


def unfused(prefix: str = "") -> dict[str, int]:
    keys = ["block.conv1.weight", "block.bn1.weight", "block.bn1.bias", "block.bn1.running_mean"]
    keys += ["block.bn1.running_var", "block.bn1.num_batches_tracked", "conv2.weight", "conv2.bias", "bn2.running_mean"]
    return {prefix + key: number for number, key in enumerate([*keys, "fc.weight"])}


RENAMED = {
    "block.conv1.conv.weight": 0,
    "block.conv1.bn.weight": 1,
    "block.conv1.bn.bias": 2,
    "block.conv1.bn.running_mean": 3,
    "block.conv1.bn.running_var": 4,
    "block.conv1.bn.num_batches_tracked": 5,
    "conv2.conv.weight": 6,
    "conv2.conv.bias": 7,
    "conv2.bn.running_mean": 8,
    "fc.weight": 9,
}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_keys_of_unfused_layers_are_renamed_in_place(prefix):
    checkpoint = unfused(prefix)
    assert ADAPTER.adapt(checkpoint, prefix) is checkpoint
    assert checkpoint == {prefix + key: number for key, number in RENAMED.items()}


def test_adapting_twice_changes_nothing():
    once = ADAPTER.adapt(unfused())
    assert ADAPTER.adapt(dict(once)) == once


def test_a_pair_with_the_references_placeholder_stays_as_it_is():
    quantized = {"conv2.weight": 1, "conv2.bias": 2, "bn2._linger_ignore_parameter": 3}
    assert ADAPTER.adapt(dict(quantized)) == quantized


def test_keys_under_another_prefix_stay():
    assert ADAPTER.adapt(unfused("module.")) == unfused("module.")


@pytest.mark.parametrize("name", ["pairs.json", "folder/pairs.yaml"])
def test_an_adapter_survives_a_file(tmp_path, name):
    ADAPTER.save(tmp_path / name)
    assert CheckpointAdapter.load(tmp_path / name) == ADAPTER
    assert [p.name for p in (tmp_path / name).parent.iterdir()] == [(tmp_path / name).name]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "pairs.json"
    ADAPTER.save(path)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(LingerError, match="full"):
        CheckpointAdapter([("a", "b")]).save(path)
    assert json.loads(path.read_text()) == {"pairs": [["block.conv1", "block.bn1"], ["conv2", "bn2"]]}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "no list of fused layers"), ("[]", "one key 'pairs'"), ('{"pairs": ["ab"]}', "a pair of fused layers is")],
)
def test_a_file_with_something_else_is_refused_by_name(tmp_path, text, message):
    (tmp_path / "pairs.json").write_text(text)
    with pytest.raises(LingerError, match=message):
        CheckpointAdapter.load(tmp_path / "pairs.json")
    with pytest.raises(LingerError, match="no such file"):
        CheckpointAdapter.load(tmp_path / "absent.json")
