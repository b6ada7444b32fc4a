"""A LitServe server with dynamic batches: `python -m benchmarks.rivals.litserve_server PORT PRECISION`.

A batch is what comes within 30 ms, up to 16 requests. The stock pipeline takes one size, number of steps and scale a
call, so a mixed batch becomes one call for each.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import click
import litserve
import litserve.server
from PIL import Image

from benchmarks.rivals.stock import Asked, answer, generate, load_pipeline

MOST_IN_A_BATCH = 16
BATCH_TIMEOUT_S = 0.03
REQUEST_TIMEOUT_S = 600.0


class StockApi(litserve.LitAPI):  # type: ignore[misc]  # LitServe has a folder of its own, where mypy does not look
    """Text to image with the stock pipeline."""

    def __init__(self, precision: str) -> None:
        super().__init__(max_batch_size=MOST_IN_A_BATCH, batch_timeout=BATCH_TIMEOUT_S, api_path="/generate")
        self.precision = precision

    def setup(self, device: str) -> None:
        self.pipeline = load_pipeline(self.precision)

    def decode_request(self, request: Mapping[str, Any]) -> Asked:
        return Asked.read(request)

    def predict(self, batch: Sequence[Asked]) -> list[Image.Image]:
        """An image for each request, in their order."""
        groups = defaultdict(list)
        for number, asked in enumerate(batch):
            groups[asked.shared].append(number)
        images: dict[int, Image.Image] = {}
        for numbers in groups.values():
            images.update(zip(numbers, generate(self.pipeline, [batch[number] for number in numbers]), strict=True))
        return [images[number] for number in range(len(batch))]

    def encode_response(self, output: Image.Image) -> dict[str, list[str]]:
        return answer(output)


@click.command()
@click.argument("port", type=int)
@click.argument("precision")
def main(port: int, precision: str) -> None:
    """Serve until this process ends."""
    # it would start an MCP server wherever it finds the library `mcp`, and knows only the first major version of that
    litserve.server._MCP_AVAILABLE = False
    server = litserve.LitServer(StockApi(precision), accelerator="cpu", timeout=REQUEST_TIMEOUT_S)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
