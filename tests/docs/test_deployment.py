"""The pages about export say what the program says."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import linger_jax
from linger_jax.cli.app import app
from linger_jax.targets import device_of, packed_platforms

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
SOURCE = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "linger_jax").rglob("*.py"))


def test_every_command_that_is_shown_exists() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    commands = {info.callback.__name__ for info in app.registered_commands if info.callback}
    shown = set(re.findall(r"linger-jax ([a-z]+)", text)) - {"is", "has"}
    assert shown <= commands
    assert {"convert", "export", "run", "check", "pack"} <= shown


def test_messages_of_the_table_are_those_of_the_program() -> None:
    """Words of the first column between dots, as far as they are not numbers of an example."""
    table = GUIDE.split("## When something is wrong")[1]
    quoted = [
        text for row in re.findall(r"^\| ([^|]*) \|", table, re.MULTILINE) for text in re.findall(r"`([^`]+)`", row)
    ]
    ours = [
        part.strip()
        for text in quoted
        for part in text.split("...")
        if not re.search(r"\d|linger-jax|DeviceLint", part)
    ]
    assert len(ours) > 10
    lost = [part for part in ours if part and part not in SOURCE and part not in ("platform=", "--dump")]
    assert lost == []


def test_memory_of_the_guide_is_that_of_the_check() -> None:
    memory = {platform.value: device_of(platform).share_memory // 1024 for platform in packed_platforms()}
    assert f"arcs and venusA have {memory['arcs']} KiB" in GUIDE
    assert memory["arcs"] == memory["venusA"]
    assert f"(venus {memory['venus']} KiB)" in GUIDE
    assert f"and {device_of(packed_platforms()[0]).psram // 2**20} MiB of PSRAM" in GUIDE


def test_the_plan_of_the_guide_is_that_of_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(# mixed\.py\n.*?)```", GUIDE, flags=re.DOTALL)
    (shown,) = re.findall(r"prints\n\n```text\n(.*?)```", GUIDE, flags=re.DOTALL)
    (tmp_path / "mixed.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    model = importlib.import_module("mixed").Mixed()
    images = jax.ShapeDtypeStruct((64, 8, 8, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    plan = linger_jax.init(model, linger_jax.QuantConfig(platform="arcs")).plan(variables, images)
    assert [line.rstrip() for line in str(plan).rstrip().splitlines()] == shown.splitlines()
