"""What stands in for the names of torch and others in a pickle of weights: nothing of these libraries themselves."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from shared.catalogue.tensors import ITEM_BYTES, LARGEST_SIDE, MOST_SIDES, NotUsable, StoredTensor

CUT = "is cut short or no checkpoint: fetch it again"
_STORAGES: Mapping[str, str] = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": "uint8",
}  # fmt: skip
# what published checkpoints of training runs mention beside their weights, and nobody needs
_INERT = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "numpy.dtype", "numpy.ndarray", "_codecs.encode", "torch.device", "torch.Tensor", "torch.nn.parameter.Parameter",
    *(f"{builtins}.{name}" for builtins in ("builtins", "__builtin__") for name in ("set", "frozenset", "dict")),
)  # fmt: skip


class _Inert:
    """Stands in for what is not needed: takes anything, does nothing."""

    def __init__(self, *_: Any) -> None: ...


class Names:
    """What stands in for torch's own names in a pickle."""

    def __init__(self, sizes: Mapping[str, int] | None) -> None:
        """`sizes`: bytes of each storage, where the archive tells."""
        self._sizes = sizes
        self.bytes_of: dict[str, int] = {}
        self.known: Mapping[str, Callable[..., Any]] = {
            **dict.fromkeys(_INERT, _Inert),
            **{f"torch.{name}": _named(dtype) for name, dtype in _STORAGES.items()},
            **{f"torch.storage.{name}": _named(dtype) for name, dtype in _STORAGES.items()},
            **{f"torch.{dtype}": _named(dtype) for dtype in ITEM_BYTES},
            "collections.OrderedDict": lambda *_: {},
            "collections.defaultdict": lambda *_: {},
            "torch.nn.modules.container.ParameterDict": lambda *_: {},
            "torch.Size": _size,
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor_v3": self._typed_tensor,
            "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
            "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
            "torch._tensor._rebuild_from_type_v2": lambda function, _kind, arguments, *_: function(*arguments),
        }

    def storage(self, identifier: Any) -> Any:
        """What a persistent id stands for: (type, name) of a storage, or a class, beside which its source stands."""
        if identifier[0] == "module":
            return identifier[1]
        kind, of_type, key, _, count, *_ = identifier
        dtype = of_type.dtype
        size = int(count) * ITEM_BYTES[dtype]
        if kind != "storage" or not isinstance(key, str):
            raise ValueError("no storage")
        if self._sizes is not None and self._sizes.get(key, -1) < size:
            raise NotUsable(CUT)
        self.bytes_of[key] = size
        return dtype, key

    def _tensor(self, storage: tuple[str, str], offset: int, shape: Any, strides: Any, *_: Any) -> StoredTensor:
        dtype, key = storage
        return self._stored(dtype, key, offset, shape, strides)

    def _typed_tensor(
        self,
        storage: tuple[str, str],
        offset: int,
        shape: Any,
        strides: Any,
        _grad: Any,
        _hooks: Any,
        of_type: Any,
        *_: Any,
    ) -> StoredTensor:
        return self._stored(of_type.dtype, storage[1], offset, shape, strides)

    def _stored(self, dtype: Any, key: Any, offset: int, shape: Any, strides: Any) -> StoredTensor:
        shape, strides = tuple(map(int, shape)), tuple(map(int, strides))
        # what is nested without end must not be hashed
        if not isinstance(dtype, str) or not isinstance(key, str):
            raise ValueError("no storage")
        room, item = self.bytes_of[key], ITEM_BYTES[dtype]
        if len(shape) > MOST_SIDES or min((offset, *shape, *strides)) < 0 or max((0, *shape)) > LARGEST_SIDE:
            raise NotUsable(CUT)
        last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
        stored = StoredTensor(dtype, shape, offset * item, key, strides)
        # of more numbers than there are it would be made by repeating some without end
        if stored.count and max(last + 1, stored.count) * item > room:
            raise NotUsable(CUT)
        return stored


class _Typed:
    """Stands in for a class of storages or a type of numbers. It cannot be called to any effect."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def __call__(self, *_: Any) -> "_Typed":
        return self


def _size(items: Collection[Any] = ()) -> tuple[Any, ...]:
    # one long list can be copied in every step
    if len(items) > MOST_SIDES:
        raise NotUsable(CUT)
    return tuple(items)


def _named(dtype: str) -> _Typed:
    return _Typed(dtype)
