"""What an adapter does to one layer, out of the tensors that its file has for it."""

import math
from collections.abc import Callable, Mapping

import torch

from shared.catalogue.tensors import NotUsable
from worker.adapters.low_rank_change import LowRankChange
from worker.adapters.whole_change import Difference, WholeChange, constant, hadamard, kronecker, scaled_rows

Tensors = Mapping[str, torch.Tensor]
"""Those of one layer, by what they are to it: `down`, `up`, `alpha` and so on."""
Change = LowRankChange | WholeChange
DefaultScale = Callable[[int], float] | None
"""What a change of that rank is multiplied by where the file has no alpha; None: 1."""
_LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
# with more, a copy of the model costs less than to add them in every pass
_MOST_FACTORS = 64


def change_of(layer: str, tensors: Tensors, default_scale: DefaultScale) -> Change | None:
    """The change of `layer`, as the file calls it; None where the tensors mean nothing together. Raises NotUsable."""
    part = _weight_change(layer, tensors, default_scale)
    bias, magnitude = tensors.get("bias"), tensors.get("magnitude")
    if part is None and bias is None:
        return None
    if isinstance(part, LowRankChange) and bias is None and magnitude is None:
        return part
    nbytes = sum(tensor.nbytes for tensor in tensors.values())
    if isinstance(part, LowRankChange):
        return WholeChange(_added(part), bias, magnitude, nbytes)
    return WholeChange(part, bias, magnitude, nbytes)


def _added(part: LowRankChange) -> Difference:
    def difference(weight: torch.Tensor) -> torch.Tensor:
        made = part.differences(weight)[0]
        return weight.new_zeros(()) if made is None else made

    return difference


def _weight_change(layer: str, tensors: Tensors, default_scale: DefaultScale) -> LowRankChange | Difference | None:
    if "down" in tensors or "up" in tensors:
        return _low_rank(layer, tensors, default_scale)
    if any(name.startswith("hada_") for name in tensors):
        return _loha(layer, tensors)
    if any(name.startswith("lokr_") for name in tensors):
        return _lokr(layer, tensors)
    if "on_input" in tensors and "weight" in tensors:
        return scaled_rows(tensors["weight"], bool(tensors["on_input"].flatten()[0]))
    return constant(tensors["difference"]) if "difference" in tensors else None


def _low_rank(layer: str, tensors: Tensors, default_scale: DefaultScale) -> LowRankChange:
    _all_there(layer, tensors, ("down", "up"))
    down, up, mid = tensors["down"], tensors["up"], tensors.get("mid")
    rank = down.shape[0] if down.dim() in (2, 4) else -1
    if rank == 0 or 0 in up.shape:
        raise NotUsable(f"has factors of rank 0 for {layer}: get another")
    kernel = tuple(down.shape[2:])
    if mid is not None:
        # Tucker's form of a convolution: the kernel is between two factors of one pixel
        if mid.dim() != 4 or down.dim() != 4 or kernel != (1, 1) or mid.shape[1] != rank:
            raise _do_not_fit(layer, tensors)
        kernel, rank = tuple(mid.shape[2:]), mid.shape[0]
        down = torch.einsum("mrkl,rc->mckl", mid.float(), down[:, :, 0, 0].float())
    flat_up = up.flatten(1) if up.dim() in (2, 4) else up
    if flat_up.dim() != 2 or flat_up.shape[1] != rank:
        raise _do_not_fit(layer, tensors)
    return LowRankChange(down.flatten(1), flat_up, _scale(layer, tensors, rank, default_scale), kernel)


def _loha(layer: str, tensors: Tensors) -> LowRankChange | Difference:
    """A product of two matrices of low rank, number by number, is one of the product of their ranks."""
    _all_there(layer, tensors, _LOHA)
    a, b, c, d = (tensors[name] for name in _LOHA)
    rank = b.shape[0]
    scale = _scale(layer, tensors, rank, None)
    if "hada_t1" in tensors or "hada_t2" in tensors:
        _all_there(layer, tensors, ("hada_t1", "hada_t2"))
        return hadamard((a, b, tensors["hada_t1"]), (c, d, tensors["hada_t2"]), scale)
    fit = all(each.dim() == 2 for each in (a, b, c, d)) and a.shape[1] == rank and c.shape[1] == d.shape[0]
    if not fit or a.shape[0] != c.shape[0] or b.shape[1] != d.shape[1]:
        raise _do_not_fit(layer, tensors)
    if rank * d.shape[0] > _MOST_FACTORS:
        return hadamard((a, b), (c, d), scale)
    up = torch.einsum("oi,oj->oij", a.float(), c.float()).flatten(1)
    down = torch.einsum("ic,jc->ijc", b.float(), d.float()).flatten(0, 1)
    return LowRankChange(down, up, scale, None)


def _lokr(layer: str, tensors: Tensors) -> LowRankChange | Difference:
    """A Kronecker product has the product of the ranks of its matrices, the first of which is mostly small."""
    first, second = (_matrix(layer, tensors, f"lokr_w{number}") for number in (1, 2))
    if "lokr_t2" in tensors:
        second = (*second, tensors["lokr_t2"])
    # whole on both sides there is no rank to divide alpha by
    ranks = [pair[1].shape[0] for pair in (first, second) if len(pair) > 1]
    scale = _scale(layer, tensors, ranks[-1], None) if ranks else 1.0
    if len(second) != 2 or any(each.dim() != 2 for each in (*first, *second)):
        return kronecker(first, second, scale)
    if any(len(pair) == 2 and pair[0].shape[1] != pair[1].shape[0] for pair in (first, second)):
        raise _do_not_fit(layer, tensors)
    one = _as_factors(*first)
    if one[0].shape[1] * ranks[-1] > _MOST_FACTORS:
        return kronecker(first, second, scale)
    up, down = (torch.kron(a.contiguous(), b.float().contiguous()) for a, b in zip(one, second, strict=True))
    return LowRankChange(down, up, scale, None)


def _as_factors(*matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix as the product of two, the inner side as small as its own smaller side."""
    if len(matrix) == 2:
        return matrix[0].float(), matrix[1].float()
    whole = matrix[0].float()
    rows, columns = whole.shape
    return (torch.eye(rows), whole) if rows < columns else (whole, torch.eye(columns))


def _matrix(layer: str, tensors: Tensors, name: str) -> tuple[torch.Tensor, ...]:
    """Whole, or as two factors."""
    if name in tensors:
        return (tensors[name],)
    names = (f"{name}_a", f"{name}_b")
    _all_there(layer, tensors, names)
    return tensors[names[0]], tensors[names[1]]


def _all_there(layer: str, tensors: Tensors, roles: tuple[str, ...]) -> None:
    for role in roles:
        if role not in tensors:
            raise NotUsable(f"has no {role} factor for {layer}: it is not whole, fetch it again")
        if 0 in tensors[role].shape or not tensors[role].dim():
            raise NotUsable(f"has factors of rank 0 for {layer}: get another")


def _scale(layer: str, tensors: Tensors, rank: int, default_scale: DefaultScale) -> float:
    if "alpha" not in tensors:
        return 1.0 if default_scale is None else default_scale(rank)
    if tensors["alpha"].numel() != 1:
        raise NotUsable(f"has an alpha of several numbers for {layer}: get another")
    alpha = float(tensors["alpha"])
    if not math.isfinite(alpha):
        raise NotUsable(f"has an alpha that is no number ({alpha}) for {layer}: get another")
    # kohya's scripts write 0 for "as the rank"
    return alpha / rank if alpha else 1.0


def _do_not_fit(layer: str, tensors: Tensors) -> NotUsable:
    shapes = ", ".join(f"{role} {'x'.join(map(str, tensor.shape))}" for role, tensor in sorted(tensors.items()))
    return NotUsable(f"has factors for {layer} whose shapes do not fit each other ({shapes}): get another")
