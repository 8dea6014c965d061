"""The report of the device lint, and how it reaches the user."""

import json

import numpy as np
import pytest

import linger_jax
from linger_jax.cli import main
from linger_jax.errors import ExportError
from tests.export.runner import onnx_models as build

ACT = {**build.ACT, "scale_x": 16.0, "scale_o": 32.0, "scale_w": 64.0, "w_bits": 8}


def linear(tmp_path, *, rows=1, name="linear.onnx", **changes):
    nodes = [
        build.quant("x", "0", 16.0),
        build.node("linger.QLinear", ["0", "w"], ["1"], **{**ACT, **changes}),
        build.dequant("1", "y", 32.0),
    ]
    for node in nodes:
        if changes.get("platform"):
            for attribute in node.attribute:
                if attribute.name == "platform":
                    attribute.s = changes["platform"].encode()
    return build.write(tmp_path / name, nodes, {"x": [rows, 4]}, ["y"], {"w": np.ones((3, 4), np.int8)})


def test_a_file_that_runs_has_no_findings(tmp_path):
    report = linger_jax.check_onnx(linear(tmp_path))
    assert (report.ok, report.findings, report.pack_options) == (True, (), [])
    assert report.platform == "arcs"
    assert str(report) == "runs on arcs as it is: no findings"


def test_a_finding_names_node_value_limit_and_remedy(tmp_path):
    report = linger_jax.check_onnx(linear(tmp_path, x_bits=16))
    (finding,) = report.findings
    assert (finding.check, finding.node, finding.severity) == ("activation width", "QLinear_1", "refuse")
    assert (finding.found, finding.limit, finding.remedy) == ("16-bit input", "8 bits", "Set activate_bits: 8")
    assert not report.ok
    assert all(text in str(report) for text in ("QLinear_1", "16-bit input", "does not run on arcs"))


def test_a_refused_operator_says_why_and_names_no_allowed_value(tmp_path):
    nodes = [
        build.quant("x", "0", 16.0),
        build.node("linger.QGelu", ["0"], ["1"], **ACT),
        build.dequant("1", "y", 32.0),
    ]
    report = linger_jax.check_onnx(build.write(tmp_path / "gelu.onnx", nodes, {"x": [1, 4]}, ["y"], {}))
    (text,) = [str(finding) for finding in report.findings if finding.check == "operator"]
    assert "QGelu: the packer has no such operator. Export with dialect='thinker'" in text
    assert "allowed" not in text


def test_a_model_in_memory_is_checked_like_its_file(tmp_path):
    import onnx

    path = linear(tmp_path, w_bits=4)
    assert linger_jax.check_onnx(onnx.load(path)).findings == linger_jax.check_onnx(path).findings != ()


def test_the_layer_of_a_node_is_read_from_its_doc_string(tmp_path):
    import onnx

    model = onnx.load(linear(tmp_path, w_bits=4))
    model.graph.node[1].doc_string = "head.dense"
    (finding,) = linger_jax.check_onnx(model).findings
    assert finding.layer == "head.dense"
    assert finding.place == "head.dense (QLinear_1)"


def test_another_platform_than_the_files_is_refused(tmp_path):
    report = linger_jax.check_onnx(linear(tmp_path), "venusA")
    assert [f.check for f in report.findings] == ["platform"]
    assert not report.ok


def test_platform_names_are_read_as_the_packer_reads_them(tmp_path):
    assert linger_jax.check_onnx(linear(tmp_path), "ARCS").ok
    with pytest.raises(ExportError, match="know platform 'jupiter'; allowed: venus, mars, arcs, venusA"):
        linger_jax.check_onnx(linear(tmp_path), "jupiter")


def test_options_of_several_findings_become_one_argument(tmp_path):
    report = linger_jax.check_onnx(linear(tmp_path, rows=3, platform="venusA"))
    assert report.ok
    assert report.pack_options == ["-m", "1:psram"]
    assert "packer options: -m 1:psram" in str(report)


def test_the_program_prints_the_report_and_fails_where_something_is_in_the_way(tmp_path, capsys):
    path = str(linear(tmp_path, o_bits=16))
    with pytest.raises(SystemExit) as exit_:
        main(["check", path])
    assert exit_.value.code == 1
    assert "16-bit output" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_:
        main(["check", path, "--json"])
    assert exit_.value.code == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert [f["check"] for f in report["findings"]] == ["output width"]


def test_the_program_succeeds_where_nothing_is(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["check", str(linear(tmp_path)), "--platform", "arcs"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out.strip() == "runs on arcs as it is: no findings"


def test_a_file_that_is_none_is_one_message(tmp_path, capsys):
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(SystemExit) as exit_:
        main(["check", str(tmp_path / "broken.onnx")])
    assert exit_.value.code == 1
    assert "no ONNX file" in capsys.readouterr().err


def test_a_remedy_that_is_an_option_of_the_packer_ends_with_it(tmp_path, capsys):
    nodes = [
        build.quant("x", "0", 16.0),
        build.node("linger.QGLU", ["0"], ["1"], **{**ACT, "platform": "venusA"}, dim=1),
        build.dequant("1", "y", 32.0),
    ]
    path = build.write(tmp_path / "glu.onnx", nodes, {"x": [1, 4]}, ["y"], {"w": np.ones(1, np.int8)})
    with pytest.raises(SystemExit):
        main(["check", str(path), "--platform", "venusA", "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    told = [finding["remedy"] for finding in findings if finding["options"]]
    assert told == ["Give the packer the option -m 0:psram"]
