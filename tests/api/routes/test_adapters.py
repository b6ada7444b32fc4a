"""What can be added to a model, as it is listed; of the LoRAs see `test_catalogue.py`."""

from dataclasses import replace

from shared.catalogue.models import OtherFile
from shared.jobs.inventory import Inventory
from tests.api.routes.test_catalogue import HASH, live, told


def test_embeddings_of_live_workers_are_listed(world):
    """Given a worker with embeddings, when they are listed, then each says what it is for, how many places it takes in
    a prompt, and why it cannot be used; no place on the worker's disk is told."""
    spiral = OtherFile(
        "spiral", "embedding", "sd1", "MODELS_DIR/embeddings/spiral.pt", 7, "is a textual inversion embedding",
        sha256=HASH, vectors=3,
    )  # fmt: skip
    flux = replace(spiral, name="flux", shown="flux", family="flux", sha256="")
    cut = replace(
        spiral, name="cut", shown="MODELS_DIR/cut.pt", family="", vectors=0, unusable="is cut short", sha256=""
    )
    lora = replace(spiral, name="a", shown="a", kind="lora")
    client = live(world, Inventory((told("a model"),), frozenset({"a model"}), (spiral, flux, cut, lora)))

    embeddings = {each["name"]: each for each in client.get("/embeddings").json["embeddings"]}

    assert embeddings["spiral"] == {
        "name": "spiral", "family": "sd1", "vectors": 3, "file": "MODELS_DIR/embeddings/spiral.pt", "bytes": 7,
        "hash": HASH[:10], "sha256": HASH, "why_not": None,
    }  # fmt: skip
    assert (
        embeddings["flux"]["why_not"] == "'flux' cannot be used: it is an embedding for Flux, which is not drawn here."
    )
    assert embeddings["cut"]["why_not"] == "'cut' cannot be used: MODELS_DIR/cut.pt is cut short."
    assert set(embeddings) == {"spiral", "flux", "cut"}
