"""Which of the embeddings that a prompt names a model can use, and what is to be said of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.catalogue.kinds import FAMILY_NAMES
from worker.models.checkpoint import Checkpoint
from worker.text.embeddings import Embedding, told_widths, width_of

_FAMILIES: Mapping[tuple[int, ...], str] = {(768,): "sd1", (1024,): "sd2", (768, 1280): "sdxl", (1280,): "sdxl-refiner"}


@dataclass(frozen=True)
class Fitting:
    """Those that fit, and a sentence for each that does not."""

    embeddings: tuple[Embedding, ...]
    remarks: tuple[str, ...]

    @property
    def hashes(self) -> Mapping[str, str]:
        """The SHA-256 of each that fits, by name."""
        return {each.name: each.sha256 for each in self.embeddings}


def fitting(checkpoint: Checkpoint, encoders: Sequence[str], embeddings: Sequence[Embedding]) -> Fitting:
    """`encoders` are the folders of the model's text encoders."""
    fit, remarks = list[Embedding](), list[str]()
    for embedding in embeddings:
        if embedding.problem:
            remarks.append(f"embeddings: '{embedding.name}' is read as text, for {embedding.problem}.")
        elif _fits(checkpoint, encoders, embedding):
            fit.append(embedding)
        else:
            remarks.append(
                f"embeddings: '{embedding.name}' is read as text, for it is an embedding for {_made_for(embedding)}, "
                f"which the model '{checkpoint.model.name}' is not."
            )
    return Fitting(tuple(fit), tuple(remarks))


def _fits(checkpoint: Checkpoint, encoders: Sequence[str], embedding: Embedding) -> bool:
    alone = len(encoders) == 1
    for encoder in encoders:
        vectors = embedding.for_encoder(encoder, alone)
        if vectors is None or vectors.shape[1] != width_of(checkpoint.parts.text_encoders[encoder]):
            return False
    return True


def _made_for(embedding: Embedding) -> str:
    widths = tuple(told_widths(embedding))
    family = _FAMILIES.get(widths)
    return FAMILY_NAMES[family] if family else f"models with texts {' and '.join(map(str, widths))} wide"
