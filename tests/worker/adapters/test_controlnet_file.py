"""ControlNet files that are broken, beside which a configuration may say anything."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.catalogue.tensors import NotUsable
from tests.worker.controlnets import write_controlnet
from worker.adapters.controlnet_file import read_controlnet

SHAPE = {"controlnet_cond_embedding.conv_in.weight": torch.tensor(1.0)}


@pytest.mark.parametrize(
    ("said", "tensors"),
    [
        ({"norm_num_groups": 0}, {}), ({"attention_head_dim": 0}, {}), ({"block_out_channels": [-32, 64]}, {}),
        ({"block_out_channels": []}, {}), ({"_class_name": "other"}, SHAPE),
    ],
    ids=str,
)  # fmt: skip
def test_what_makes_no_network_is_refused_in_a_sentence(
    said: dict[str, Any], tensors: dict[str, torch.Tensor], models_dir: Path, tmp_path: Path
) -> None:
    """Given a ControlNet whose configuration or weights make no sense, when it is read, then one sentence says so."""
    file = write_controlnet(models_dir, "tiny-sd1", tmp_path, 1)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | said))
    save_file(load_file(file) | tensors, file)
    with pytest.raises(NotUsable, match="another structure"):
        read_controlnet(file, "sd1", torch.float32)
