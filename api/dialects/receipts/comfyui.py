"""What ComfyUI writes into its images: the whole graph that made them, as JSON in the text `prompt`.

Of a graph the sampler is found, and from there what feeds it, as far as nodes of the usual kinds do.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from api.dialects.receipts.told import Told, json_object, renamed, text_of
from shared.request.image_text import ImageText

_CHUNK = "prompt"
_NAMES = {
    "steps": "ddim_steps",
    "cfg": "scale",
    "sampler_name": "sampler",
    "scheduler": "schedule",
    "denoise": "denoising_strength",
}
_SEEDS, _TEXTS, _VALUES = ("seed", "noise_seed"), ("text", "text_g", "prompt"), ("value", "text", "string", "number")
_MOST_NODES = 500
_GRAPH = "The graph has several samplers; only the first is taken over."
_NOT_READ = "The graph of ComfyUI has no sampler of a usual kind."

Node = Mapping[str, Any]


def read(text: ImageText) -> Told | None:
    """Nothing where ComfyUI did not write it."""
    found = json_object(text.items.get(_CHUNK))
    if not found:
        return None
    nodes = {str(name): node for name, node in found.items() if isinstance(node, dict) and "class_type" in node}
    return Told("comfyui", remarks=(_NOT_READ,)) if not nodes else _Graph(nodes).told()


class _Graph:
    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes

    def told(self) -> Told:
        samplers = [node for node in self._nodes.values() if text_of(node["class_type"]).startswith("KSampler")]
        if not samplers:
            return Told("comfyui", remarks=(_NOT_READ,))
        drawn = [each for each in samplers if self._first(each, "latent_image", ("width", "height"))]
        inputs = _inputs((drawn or samplers)[0])
        values = renamed({name: self._value(value) for name, value in inputs.items()}, _NAMES)
        for seed in _SEEDS:
            values |= renamed({"seed": self._value(inputs.get(seed))}, {"seed": "seed"})
        for side, field in (("positive", "prompt"), ("negative", "negative_prompt")):
            if prompt := self._text(inputs, side):
                values[field] = prompt
        if size := self._first(_of(inputs), "latent_image", ("width", "height")):
            values |= renamed(size, {"width": "W", "height": "H"})
        if model := self._first(_of(inputs), "model", ("ckpt_name",)):
            values["ckpt"] = model["ckpt_name"]
        if values.get("denoising_strength") == 1:
            del values["denoising_strength"]
        remarks = (_GRAPH,) if len(samplers) > 1 else ()
        return Told("comfyui", values, "denoising_strength" in values, remarks=remarks)

    def _text(self, inputs: Node, side: str) -> str:
        found = next((each for each in self._upstream(inputs.get(side)) if set(_TEXTS) & each.keys()), {})
        return next((text for name in _TEXTS if (text := text_of(self._value(found.get(name))))), "")

    def _first(self, node: Node, name: str, wanted: tuple[str, ...]) -> dict[str, Any] | None:
        """The values `wanted`, of the nearest node behind the input `name` that has them all."""
        for inputs in self._upstream(_inputs(node).get(name)):
            found = {each: self._value(inputs.get(each)) for each in wanted}
            if all(value is not None for value in found.values()):
                return found
        return None

    def _value(self, value: Any) -> Any:
        """The value of an input, also where a node gives it that holds nothing else."""
        node = self._node(value)
        if node is None:
            return None if isinstance(value, list | dict) else value
        inputs = _inputs(node)
        held = next((inputs[name] for name in (*_VALUES, *_SEEDS) if name in inputs), None)
        return None if isinstance(held, list | dict) else held

    def _upstream(self, link: Any) -> Iterator[Node]:
        """The inputs of the node behind `link`, and of all behind it, the nearest first."""
        waiting, seen = [link], set[int]()
        while waiting and len(seen) < _MOST_NODES:
            node = self._node(waiting.pop(0))
            if node is None or id(node) in seen:
                continue
            seen.add(id(node))
            inputs = _inputs(node)
            yield inputs
            waiting += inputs.values()

    def _node(self, link: Any) -> Node | None:
        """The node that a link names: `[name, number of its output]`."""
        if isinstance(link, list) and link and isinstance(link[0], str | int):
            return self._nodes.get(str(link[0]))
        return None


def _inputs(node: Node) -> Node:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _of(inputs: Node) -> Node:
    return {"inputs": inputs}
