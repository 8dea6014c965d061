"""What is wanted of a case at the packer, and what replaying leaves for other programs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.golden.case import read_case
from tests.golden.device.exported import keep_files
from tests.golden.device.packed import Wanted, replay, wanted

DATA = Path(__file__).parents[1] / "data" / "device"


@pytest.mark.parametrize(
    ("verdict", "reasons", "want"),
    [
        ("equal", [], Wanted.packed),
        ("equal with `-m 1:psram`", ["QLinear ...; place its output in PSRAM"], Wanted.packed),
        ("REJECTED by packer", ["packer has no translation for op name QMatmul"], Wanted.packed),
        ("REJECTED by packer", ["packer has no translation for op name QGelu"], Wanted.packed),
        ("REJECTED by packer", ["Clip: packer type check can never pass"], Wanted.either),
        ("DIFFERS", ["w_bits=4: accepted by the packer"], Wanted.refused),
        ("DIFFERS", ["QConv1d: ... Conv2d with height 1 is fine on venusA)"], Wanted.packed),
    ],
)
def test_a_case_asks_for_a_package_where_only_the_exporter_stood_in_the_way(verdict, reasons, want):
    assert wanted({"verdict": verdict, "known_reasons": reasons, "device_variants": [], "device": {}}) is want


def test_a_remedy_that_was_tried_in_vain_is_none():
    meta = {"verdict": "DIFFERS", "known_reasons": ["QLinear ...; place its output in PSRAM"], "device": {}}
    tried = [{"packer_options": "-m 1:psram", "equal": False}]
    assert wanted({**meta, "device_variants": tried}) is Wanted.refused
    assert wanted({**meta, "device_variants": []}) is Wanted.packed


def test_export_leaves_files_of_both_dialects_and_the_packers_options(tmp_path):
    keep_files(read_case(DATA / "arcs_conv_bn_unfused" / "case.json"), tmp_path / "fine")
    assert sorted(p.name for p in (tmp_path / "fine").iterdir()) == ["linger.onnx", "pack.json", "thinker.onnx"]
    assert json.loads((tmp_path / "fine" / "pack.json").read_text()) == {"platform": "arcs", "options": []}


def test_export_leaves_the_reason_in_the_place_of_a_refused_file(tmp_path):
    (tmp_path / "thinker.onnx").write_text("of an earlier run")
    keep_files(read_case(DATA / "layernorm" / "case.json"), tmp_path)
    told = json.loads((tmp_path / "pack.json").read_text())
    assert "LayerNorm" in told["refused"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["linger.onnx", "pack.json"]


@pytest.mark.packer
def test_a_wrong_wish_fails_the_case(tpacker):
    case = read_case(DATA / "layernorm" / "case.json")
    assert replay(case) == []
    (told,) = replay(dataclasses.replace(case, meta={**case.meta, "verdict": "equal"}))
    assert told.startswith("is refused, where a package is wanted: ")
    assert "LayerNorm" in told
