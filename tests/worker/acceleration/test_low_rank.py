"""Low-rank changes of layers, another one for each item of a batch."""

from collections.abc import Mapping
from functools import partial

import pytest
import torch

from worker.acceleration.factor_stacks import stack_bytes, stacked_parts
from worker.acceleration.low_rank import LowRankLayers, unet_part
from worker.acceleration.split_batch import Sharing, SplitBatch
from worker.acceleration.stack_memory import StackMemory
from worker.acceleration.traced import recorded
from worker.acceleration.winograd import WinogradConv2d

GENERATOR = torch.Generator().manual_seed(0)
LAYERS: Mapping[str, torch.nn.Module] = {
    "linear": torch.nn.Linear(6, 10),
    "one pixel": torch.nn.Conv2d(6, 10, 1),
    "three": torch.nn.Conv2d(6, 10, 3, padding=1),
    "strided": torch.nn.Conv2d(6, 10, 3, stride=2, padding=1),
    "winograd": WinogradConv2d(torch.nn.Conv2d(6, 10, 3, padding=1)),
}


def given_to(name: str, items: int) -> torch.Tensor:
    shape = (items, 5, 6) if name == "linear" else (items, 6, 7, 9)
    return torch.randn(shape, generator=GENERATOR)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_each_item_has_its_own_change(name: str, layout: torch.memory_format) -> None:
    """Given three items, two of them with changes of different ranks, when a layer computes them, then each is what the
    layer gives with that change merged into its weights, and the one without any is the layer's own bit for bit."""
    network = torch.nn.Sequential(LAYERS[name])
    layers = LowRankLayers(network, lambda _path: "lora.part")
    (place,) = layers.places.values()
    whole = [torch.randn(1, layers.widths["lora.part"], rank, generator=GENERATOR) for rank in (2, 4)]
    items: list[Mapping[str, torch.Tensor]] = [{"lora.part": whole[0]}, {}, {"lora.part": whole[1]}]
    given = given_to(name, 3)
    if name != "linear":
        given = given.to(memory_format=layout)
    plain = network(given)
    layers.listen()
    assert torch.equal(network(given), plain)
    with layers.applied(stacked_parts(items)):
        made = network(given)
    assert torch.equal(made[1], plain[1])
    assert torch.equal(network(given), plain)
    for item, factors in ((0, whole[0]), (2, whole[1])):
        down, up = (each[0] for each in place.factors(factors))
        weight = (up @ down.T).view(10, 6, *place.kernel)
        one = given[item : item + 1]
        if name == "linear":
            change = torch.nn.functional.linear(one, weight)
        else:
            change = torch.nn.functional.conv2d(one, weight, None, place.stride, place.padding)
        assert torch.allclose(made[item], plain[item] + change[0], atol=1e-4)


def in_parts(parts: int, _work: int, _items: int, _threads: int) -> Sharing:
    return Sharing(parts, 1)


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_pairs_have_their_factors_once(name: str) -> None:
    """Given pairs of items with the same change, as those of guided requests, and one pair without any, when a layer
    computes them whole or split among threads, then the factors are there once a pair, and each item is what it is with
    its own; pairs that threads cannot share evenly have them twice."""
    network = torch.nn.Sequential(LAYERS[name])
    layers = LowRankLayers(network, lambda _path: "lora.part")
    layers.listen()
    wholes = [torch.randn(1, layers.widths["lora.part"], rank, generator=GENERATOR) for rank in (2, 4, 4)]
    items: list[Mapping[str, torch.Tensor]] = [{"lora.part": each} for each in wholes for _ in range(2)]
    items += [{}, {}]
    given = given_to(name, 8)
    with layers.applied(stacked_parts(items)):
        expected = network(given)
    for threads in (1, 2, 4):
        stack = stacked_parts(items, threads)
        assert stack["lora.part"].shape[::2] == (4, 4)
        denoise = layers.over(lambda latents, _timesteps, _told: network(latents))
        run = SplitBatch(1, partial(in_parts, threads))
        made = denoise(given, torch.zeros(8), stack) if name == "linear" else run(denoise, given, torch.zeros(8), stack)
        assert torch.allclose(made, expected, atol=1e-5)
    assert stacked_parts(items, 3)["lora.part"].shape[0] == stacked_parts(items)["lora.part"].shape[0] == 8
    assert stacked_parts(items[1:], 1)["lora.part"].shape[0] == 7
    two = stacked_parts(items[:2], 2)
    assert two["lora.part"].shape[0] == 1
    if name != "linear":
        run = SplitBatch(1, partial(in_parts, 2))
        assert torch.allclose(run(denoise, given[:2], torch.zeros(2), two), expected[:2], atol=1e-5)


def test_a_stack_is_made_in_the_memory_of_one_that_is_gone() -> None:
    """Given memory of a stack that is given back, when the next one is made, then it is there, whatever the memory held
    before, and no more is kept than is allowed."""
    memory = StackMemory(2**20)
    parts = [torch.randn(1, 64, rank) for rank in (4, 2, 4)]
    items: list[Mapping[str, torch.Tensor]] = [{"lora.part": each} for each in parts]
    first = stacked_parts(items, memory=memory)
    place = first["lora.part"].data_ptr()
    assert stacked_parts(items, memory=memory)["lora.part"].data_ptr() != place, "it is still needed"
    memory.give_back([*first.values(), parts[0]])
    second = stacked_parts([items[1], {}], memory=memory)["lora.part"]
    assert second.data_ptr() == place
    assert torch.equal(second, stacked_parts([items[1], {}])["lora.part"])
    memory.give_back([second])
    large = torch.randn(1, 2**16, 64)
    memory.give_back(stacked_parts([{"lora.part": large}, {}], memory=memory).values())
    assert memory.take((2, 64, 4), large).data_ptr() == place, "the large one was not kept"


@torch.no_grad()
def test_parts_of_a_batch_have_their_own_changes_and_can_be_recorded() -> None:
    """Given items with different changes, when the batch is split among threads or replayed from a recording, then each
    item has what it has in the whole batch."""
    network = torch.nn.Sequential(torch.nn.Conv2d(6, 6, 3, padding=1), torch.nn.Conv2d(6, 6, 1))
    layers = LowRankLayers(network, unet_part)
    layers.listen()
    denoise = layers.over(lambda latents, _timesteps, _told: network(latents))
    items = [{"lora.convolutions": torch.randn(1, layers.widths["lora.convolutions"], 4)} for _ in range(4)]
    latents, timesteps, told = torch.randn(4, 6, 8, 8), torch.arange(4.0), stacked_parts(items)
    whole = denoise(latents, timesteps, told)
    assert not torch.allclose(whole, network(latents))
    torch.set_num_threads(2)
    split = SplitBatch(10**12)(denoise, latents, timesteps, told)
    assert torch.allclose(split, whole, atol=1e-5)

    class Pass(torch.nn.Module):
        def forward(self, latents: torch.Tensor, timesteps: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
            return denoise(latents, timesteps, {"lora.convolutions": part})

    part = told["lora.convolutions"]
    pass_ = Pass()
    pass_.network = network  # the weights of a recording are those of its module
    replay = recorded(pass_, (latents, timesteps, part))
    assert torch.equal(
        replay(latents, timesteps, part.flip(0)), denoise(latents, timesteps, {"lora.convolutions": part.flip(0)})
    )


def test_items_with_one_change_share_its_memory() -> None:
    """Given the two items of a guided request, when they are stacked, then the factors are there once."""
    part = torch.randn(1, 4, 100)
    stack = stacked_parts([{"lora.part": part}, {"lora.part": part}])["lora.part"]
    assert stack.shape == (2, 4, 100)
    assert stack.data_ptr() == part.data_ptr()


def test_the_bytes_of_a_stack_are_known_before_it_is_made() -> None:
    """Given requests with one change, with none and with others, when a batch grows by each, then its stacks take no
    more than is told before, and exactly that where every part is stacked; with one change for all nothing is."""
    small, large = ({"lora.a": torch.randn(1, 6, rank), "lora.b": torch.randn(1, 9, 4)} for rank in (2, 8))
    requests: list[tuple[Mapping[str, torch.Tensor], int]] = [(small, 2), (small, 1), ({}, 1), (large, 2), (small, 2)]
    told = list(stack_bytes(requests))
    assert told[:2] == [0, 0]
    for count in range(3, len(requests) + 1):
        items = [parts for parts, items in requests[:count] for _ in range(items)]
        assert told[count - 1] == sum(tensor.nbytes for tensor in stacked_parts(items).values())
    assert list(stack_bytes([({}, 2), ({}, 1)])) == [0, 0]
