"""What each kind of adapter adds to a layer, against the package that the kinds come from."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from lycoris.modules.full import FullModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule

from worker.adapters.layer_change import change_of
from worker.adapters.lora_file import _read_name
from worker.adapters.low_rank_change import LowRankChange

LAYERS: Mapping[str, Any] = {
    "linear": lambda: torch.nn.Linear(24, 16),
    "convolution": lambda: torch.nn.Conv2d(24, 16, 3, padding=1),
    "one pixel": lambda: torch.nn.Conv2d(24, 16, 1),
}
# the package multiplies LoHa and LoKr by alpha / rank twice where it merges, and once where it computes: of these kinds
# alpha is the rank here, and another alpha has a test of its own
KINDS: Mapping[str, tuple[Any, dict[str, Any]]] = {
    "locon": (LoConModule, {"lora_dim": 4, "alpha": 2}),
    "locon tucker": (LoConModule, {"lora_dim": 4, "alpha": 2, "use_tucker": True}),
    "dora": (LoConModule, {"lora_dim": 4, "alpha": 2, "weight_decompose": True, "wd_on_out": True}),
    "dora of inputs": (LoConModule, {"lora_dim": 4, "alpha": 2, "weight_decompose": True, "wd_on_out": False}),
    "loha": (LohaModule, {"lora_dim": 4, "alpha": 4}),
    "loha of many": (LohaModule, {"lora_dim": 12, "alpha": 12}),
    "loha tucker": (LohaModule, {"lora_dim": 4, "alpha": 4, "use_tucker": True}),
    "loha dora": (LohaModule, {"lora_dim": 4, "alpha": 4, "weight_decompose": True}),
    "lokr": (LokrModule, {"lora_dim": 2, "alpha": 2, "factor": 4}),
    "lokr both": (LokrModule, {"lora_dim": 2, "alpha": 2, "factor": 4, "decompose_both": True}),
    "lokr whole": (LokrModule, {"lora_dim": 1000, "alpha": 1000, "factor": 4}),
    "lokr tucker": (LokrModule, {"lora_dim": 2, "alpha": 2, "factor": 4, "use_tucker": True}),
    "lokr dora": (LokrModule, {"lora_dim": 2, "alpha": 2, "factor": 4, "weight_decompose": True}),
    "ia3": (IA3Module, {}),
    "ia3 of inputs": (IA3Module, {"train_on_input": True}),
}


def trained(kind: str, layer: torch.nn.Module, **different: Any) -> Any:
    """The package's module over a layer, with weights as training could leave them."""
    make, arguments = KINDS[kind]
    torch.manual_seed(3)
    module = make("x", layer, 1.0, **arguments | different)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "scale" not in name:
                weight.copy_(torch.randn(weight.shape) * 0.3)
    return module


def stored(module: Any) -> Mapping[str, torch.Tensor]:
    """Its tensors by what they are to the layer, as the names of a file are read."""
    named = module.custom_state_dict() or module.state_dict()
    return {
        role: tensor.detach() for role, tensor in ((_read_name(f"x.{name}")[1], each) for name, each in named.items())
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", LAYERS)
@torch.no_grad()
def test_what_is_added_is_what_the_package_merges(kind: str, layer: str) -> None:
    """Given an adapter of each kind, when it is merged at weight 1, then the weights are those of `lycoris-lora` within
    1e-5; half of it is half-way."""
    original = LAYERS[layer]()
    module = trained(kind, original)
    change = change_of("x", stored(module), None)
    assert change is not None
    weight = original.weight.clone()
    difference, bias = change.differences(weight)
    theirs = module.get_merged_weight(1.0, weight.shape)
    assert difference is not None
    assert float((weight + difference - theirs[0].view(weight.shape)).abs().max()) <= 1e-5
    assert float(difference.abs().max()) > 1e-2
    assert bias is None
    factored = {"locon", "locon tucker", "loha", "lokr", "lokr both"}
    if layer != "convolution":  # Tucker's form is of kernels of several pixels alone
        factored |= {"loha tucker", "lokr tucker"}
    assert isinstance(change, LowRankChange) == (kind in factored)


@pytest.mark.parametrize("kind", ["loha", "loha tucker", "lokr", "lokr whole"])
@torch.no_grad()
def test_alpha_counts_once(kind: str) -> None:
    """Given a LoHa or LoKr whose alpha is not its rank, when it is merged, then it is scaled by alpha / rank once, as
    the package does where it computes."""
    original = LAYERS["convolution"]()
    module = trained(kind, original, alpha=1)
    change = change_of("x", stored(module), None)
    assert change is not None
    difference, _ = change.differences(original.weight)
    assert difference is not None
    given = torch.randn(2, 24, 5, 5)
    theirs = module.bypass_forward_diff(given)
    assert torch.allclose(torch.nn.functional.conv2d(given, difference, None, 1, 1), theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (NormModule, torch.nn.GroupNorm(4, 16)),
        (NormModule, torch.nn.LayerNorm(16)),
        (FullModule, torch.nn.Linear(24, 16)),
        (FullModule, torch.nn.Conv2d(24, 16, 3)),
    ],
)
@torch.no_grad()
def test_whole_differences_are_those_of_the_package(make: Any, layer: Any) -> None:
    """Given a difference of a norm or of a whole layer, when it is merged, then weight and bias are those of the
    package."""
    stored = torch.randn(layer.weight.shape), torch.randn(layer.bias.shape)
    change = change_of("x", dict(zip(("difference", "bias"), stored, strict=True)), None)
    assert change is not None
    own = (layer.weight.clone(), layer.bias.clone())
    made = [one + added for one, added in zip(own, change.differences(own[0]), strict=True)]
    theirs = make.make_module_from_state_dict("x", layer, *stored).get_merged_weight(1.0)
    for ours, other in zip(made, theirs, strict=True):
        assert torch.allclose(ours, other, atol=1e-5)


@pytest.mark.parametrize("kind", ["dora", "loha of many", "lokr whole"])
@torch.no_grad()
def test_a_layer_of_another_shape_is_noticed(kind: str) -> None:
    """Given an adapter for a layer of another shape, when it is merged, then that is an error and no other weights."""
    change = change_of("x", stored(trained(kind, torch.nn.Linear(24, 16))), None)
    assert change is not None
    for weight in (torch.ones(16, 20), torch.ones(20, 24), torch.ones(16, 24, 3, 3)):
        with pytest.raises((ValueError, RuntimeError)):
            change.differences(weight)


@pytest.mark.parametrize(
    "tensors",
    [
        {f"hada_w{number}_{part}": torch.ones(shape) for number in (1, 2) for part, shape in
         (("a", (1_000_000, 65)), ("b", (65, 1_000_000)))},
        {"lokr_w1": torch.ones(1_000_000, 1, 1), "lokr_w2": torch.ones(1, 1_000_000)},
    ],
    ids=["loha", "lokr"],
)  # fmt: skip
def test_what_would_be_larger_than_its_layer_is_not_made(tensors: Mapping[str, torch.Tensor]) -> None:
    """Given a small file whose product is larger than any memory, when it is merged, then its shape is the error."""
    change = change_of("x", tensors, None)
    assert change is not None
    with pytest.raises(ValueError, match="another shape"):
        change.differences(torch.ones(16, 24))
