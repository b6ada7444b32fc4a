"""From what a scan found to the models that can be asked for: who has which name, and what an entry stands for."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from shared.catalogue.accelerators import kind_and_steps, with_its_own
from shared.catalogue.distilled import NOT_DISTILLED, distillation_named, steps_named
from shared.catalogue.families import FAMILY_FACTS, FamilyFacts
from shared.catalogue.folder import check_folder, text_width_of
from shared.catalogue.kinds import CHECKPOINT, DENOISER, LORA, VAE
from shared.catalogue.layouts import LAYOUTS, layout_name
from shared.catalogue.models import DEFAULT_ALIAS, FOUND, MEASURED, Contents, Model, OtherFile
from shared.catalogue.recognition import FileFacts, objection
from shared.catalogue.scan import FoundModel
from shared.catalogue.tensors import NotUsable
from shared.catalogue.weights_file import SINGLE_FILES

_MODELS = (CHECKPOINT, DENOISER)
_SIZE_IN_NAME = re.compile(r"(?<!\d)(512|768|1024)(?!\d)")


def contents_of(entries: Mapping[str, Model], found: Sequence[FoundModel], models_dir: Path) -> Contents:
    """The entries, each with what was found of it, then everything else that was found, under names of its own.

    Raises ValueError where the entries contradict each other.
    """
    claims = {name: _claimed(entry, found, models_dir) for name, entry in entries.items()}
    models = {
        name: _filled(entry, claim, found) if (claim := claims[name]) else _with_text_width(entry, models_dir)
        for name, entry in entries.items()
    }
    taken = {DEFAULT_ALIAS, *Contents.of(models).names}
    claimed = {claim.path for claim in claims.values() if claim}
    others = []
    taken_by_others: dict[str, set[str]] = {}
    for each in found:
        if each.path in claimed:
            continue
        if each.facts.kind in _MODELS:
            model = _model(each, _names(each, taken), found)
            taken |= {model.name, *model.aliases}
            models[model.name] = model
        else:
            others.append(_other(each, taken_by_others.setdefault(each.facts.kind, set())))
    return _with_accelerators(Contents.of(models, tuple(others)))


def _with_accelerators(contents: Contents) -> Contents:
    """The entries that name an accelerator know what it says of itself, where it is here."""
    drawn = {
        name: with_its_own(model, file)
        for name, model in contents.models.items()
        if model.accelerator and (file := contents.others_by_name.get((LORA, model.accelerator)))
    }
    return Contents.of({**contents.models, **drawn}, contents.others) if drawn else contents


def _other(found: FoundModel, taken: set[str]) -> OtherFile:
    """A file of another kind, under names that no earlier one of its kind has."""
    name, *aliases = _names(found, taken)
    taken |= {name, *aliases}
    facts = found.facts
    distilled, steps = kind_and_steps(facts, found.name) if facts.kind == LORA else ("", 0)
    return OtherFile(
        name,
        facts.kind,
        facts.family,
        found.shown,
        found.size_bytes,
        facts.sentence,
        path=found.path,
        channels=facts.channels,
        text_width=facts.text_width,
        unusable=facts.refusal,
        aliases=tuple(aliases),
        sha256=found.sha256,
        title=facts.title,
        base=facts.base,
        trigger_words=facts.trigger_words,
        tags=facts.tags,
        distilled=distilled,
        steps=steps,
        vectors=facts.vectors,
    )


def _claimed(entry: Model, found: Sequence[FoundModel], models_dir: Path) -> FoundModel | None:
    """What lies where the entry says; else, unless it names a place of its own, what has its name anywhere."""
    place = entry.place(models_dir)
    if place is not None:
        whole = place.absolute()
        return next((each for each in found if each.path.absolute() == whole), None)
    if entry.local_source:
        return None
    files = {*entry.files, *(f"{entry.name}{ending}" for ending in SINGLE_FILES)}
    folders = {entry.name, *entry.aliases}
    return next(
        (
            each
            for each in found
            if each.facts.kind in _MODELS
            and (
                (each.hub_id and each.hub_id == entry.hub_id)
                or (each.name in folders if each.is_folder else each.path.name in files)
            )
        ),
        None,
    )


def _filled(entry: Model, claim: FoundModel, found: Sequence[FoundModel]) -> Model:
    """The entry with what was found of it; what the entry says goes before what the file says."""
    own = "" if entry.accelerator else _distilled(claim)  # with one it is not the file that tells
    model = replace(
        entry, path=claim.path, shown=claim.shown, size_bytes=claim.size_bytes, sha256=claim.sha256,
        dtype=claim.facts.dtype, told_guidance=claim.facts.told_guidance, inpainting=_inpainting(claim.facts),
        text_width=claim.facts.text_width,
        distilled="" if entry.distilled == NOT_DISTILLED else entry.distilled or own,
        steps=entry.steps or (_steps(claim) if own else 0),
    )  # fmt: skip
    return _checked(model, claim, found, entry.family)


def _with_text_width(entry: Model, models_dir: Path) -> Model:
    """An entry that no scan found, as the bundled one, with what its folder tells of the texts that it reads."""
    place = entry.place(models_dir)
    return replace(entry, text_width=text_width_of(place)) if place and place.is_dir() else entry


def _model(found: FoundModel, names: Sequence[str], others: Sequence[FoundModel]) -> Model:
    """A model that no entry names."""
    facts = found.facts
    prediction = facts.prediction
    if not prediction and facts.family == "sd2" and not found.is_folder:
        prediction = MEASURED
    configs = _configs(facts)
    model = Model(
        name=names[0],
        label=facts.title or found.name,
        aliases=tuple(names[1:]),
        source=f"{FOUND}{found.relative}",
        family=facts.family or "unknown",
        configs=configs,
        native_size=_native_size(found, configs),
        prediction=prediction,
        distilled=_distilled(found),
        steps=_steps(found),
        told_guidance=facts.told_guidance,
        inpainting=_inpainting(facts),
        text_width=facts.text_width,
        path=found.path,
        shown=found.shown,
        size_bytes=found.size_bytes,
        sha256=found.sha256,
        dtype=facts.dtype,
    )
    return _checked(model, found, others, None)


def _inpainting(facts: FileFacts) -> bool:
    return facts.family in FAMILY_FACTS and facts.channels == FAMILY_FACTS[facts.family].masked_channels


def _distilled(found: FoundModel) -> str:
    """What the file says, else what its name says."""
    return found.facts.distilled or distillation_named(found.name)


def _steps(found: FoundModel) -> int:
    """The number of steps of a distilled model that its file or its name speaks of; 0 where none does."""
    return (found.facts.steps or steps_named(found.name)) if _distilled(found) else 0


def _configs(facts: FileFacts) -> tuple[str, ...]:
    try:
        return (layout_name(facts.family, facts.prediction),)
    except KeyError:
        config = FAMILY_FACTS[facts.family].config if facts.family in FAMILY_FACTS else ""
        return (config,) if config else ()


def _native_size(found: FoundModel, configs: tuple[str, ...]) -> int:
    """What the file says, else its name, else what is usual for its layout or family."""
    if found.facts.native_size:
        return found.facts.native_size
    if said := _SIZE_IN_NAME.search(found.name):
        return int(said[1])
    if configs and configs[0] in LAYOUTS and found.facts.prediction:
        return LAYOUTS[configs[0]].native_size
    return _facts(found.facts.family).native_size


def _facts(family: str) -> FamilyFacts:
    """Those of the first family, where this one is unknown here."""
    return FAMILY_FACTS.get(family) or next(iter(FAMILY_FACTS.values()))


def _checked(model: Model, found: FoundModel, others: Sequence[FoundModel], claimed_family: str | None) -> Model:
    """The model with `why_not`, or with the files that give what it lacks."""
    sentence = _sentence(model, found, claimed_family)
    donors = _donors(found, others, model.family) if sentence is None else {}
    if sentence is None and (lacking := [part for part in found.facts.lacks if part not in donors]):
        sentence = (
            f"has no {' and no '.join(lacking)}, and no other checkpoint of its family is here to take that from; put"
            " a whole one beside it"
        )
    if sentence is None:
        return replace(model, donors=donors)
    return replace(model, why_not=f"The model '{model.name}' cannot be used: {found.shown} {sentence}.")


def _sentence(model: Model, found: FoundModel, claimed_family: str | None) -> str | None:
    if not found.is_folder:
        wrong = objection(found.facts, claimed_family)
        if wrong is None and found.path.suffix.lower() not in SINGLE_FILES:
            return f"is a checkpoint whose name does not end with {' or '.join(SINGLE_FILES)}: rename it to .ckpt"
        return wrong
    if claimed_family is None:
        return found.facts.refusal or None
    try:
        check_folder(found.path, model.family, model.facts)
    except NotUsable as wrong:
        return str(wrong)
    return None


def _donors(found: FoundModel, others: Sequence[FoundModel], family: str) -> dict[str, Path]:
    """For each part that a file lacks, a file that gives it: `<stem>.vae.*` beside it, else a whole checkpoint of the
    family, else a VAE."""
    if not found.facts.lacks:
        return {}
    chosen = {}
    files = [each for each in others if not each.is_folder and not each.facts.refusal]
    whole = [
        each for each in files
        if each.facts.kind == CHECKPOINT and each.facts.family == family and objection(each.facts) is None
    ]  # fmt: skip
    vaes = [each for each in files if each.facts.kind == VAE]
    begin = str(found.path.with_suffix(".vae."))
    beside = [each for each in vaes if str(each.path).startswith(begin)]
    # of the two kinds of VAE only the name tells
    fitting = [
        each for each in vaes
        if each.facts.family in (family, "") and ("xl" in each.name.lower()) == (family == "sdxl")
    ]  # fmt: skip
    for part in found.facts.lacks:
        givers = [each for each in whole if part not in each.facts.lacks]
        if part == "VAE":
            givers = [*beside, *givers, *fitting]
        if givers:
            chosen[part] = givers[0].path
    return chosen


def _names(found: FoundModel, taken: Iterable[str]) -> list[str]:
    """Its name, then its aliases: its stem, its file's name and its places, as far as nobody before it has them."""
    place = PurePosixPath(found.relative)
    ending = "" if found.is_folder else place.suffix
    wanted = [
        found.name,
        found.relative.removesuffix(ending),
        f"{found.name}{ending}",
        found.hub_id,
        found.relative,
        f"{found.root.shown}/{found.relative.removesuffix(ending)}",
        f"{found.root.shown}/{found.relative}",
    ]
    # what a keyboard writes, where a file system took the letters apart
    wanted += [unicodedata.normalize("NFC", name) for name in wanted]
    free = [name for name in dict.fromkeys(wanted) if name and name not in taken]
    number = 2
    while not free:
        name = f"{found.root.shown}/{found.relative} ({number})"
        free, number = [name] if name not in taken else [], number + 1
    return free
