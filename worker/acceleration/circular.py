"""Convolutions that take up at the opposite edge what they lack at one, so that images tile without seams."""

import copy
from collections import OrderedDict
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch

from worker.acceleration.winograd import WinogradConv2d

_CIRCULAR: Literal["circular"] = "circular"
# by what it is a twin of; a twin holds the weights and not the module
_twins: WeakKeyDictionary[torch.nn.Module, torch.nn.Module] = WeakKeyDictionary()


def circular_twin(module: Any) -> Any:
    """The module with circular padding in all its convolutions, as `padding_mode="circular"` of torch is, and the same
    weights in the same memory. It is made once; changes to the module that come later are not in it.

    Used on the engine's thread alone.
    """
    if module not in _twins:
        shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
        # what listens to the one has no part in the other
        shared |= {id(part._forward_hooks): OrderedDict() for part in module.modules()}
        twin = copy.deepcopy(module, shared)
        twin.__dict__.pop("forward", None)  # what was compiled is of the other one
        for part in twin.modules():
            if isinstance(part, torch.nn.Conv2d):
                part.padding_mode = _CIRCULAR
            elif isinstance(part, WinogradConv2d):
                part.circular = True
        _twins[module] = twin
    return _twins[module]
