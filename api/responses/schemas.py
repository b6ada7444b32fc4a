"""The shapes of the answers, for the API document."""

from marshmallow import Schema, fields


class ErrorAnswer(Schema):
    """Every error of every endpoint."""

    error = fields.String(metadata={"description": "A sentence for a person.", "example": "This key is not accepted."})
    code = fields.String(metadata={"description": "A stable word for a program.", "example": "unauthorized"})
    fields_ = fields.Dict(
        keys=fields.String(), values=fields.List(fields.String()), data_key="fields",
        metadata={"description": "What is wrong with which field.", "example": {}},
    )  # fmt: skip


class AcceptedAnswer(Schema):
    """A job was queued."""

    task_id = fields.String()
    Location = fields.String(metadata={"description": "Where to ask for the state."})
    active_model = fields.String()
    Position = fields.Integer(allow_none=True, metadata={"description": "Place in the queue, from 1."})


class StatusAnswer(Schema):
    """The state of a job; from Size on only when it has ended with images, Image and Grid only with return_base64."""

    task_id = fields.String()
    State = fields.String(metadata={"enum": ["PENDING", "PROGRESS", "SUCCESS", "FAILURE", "REVOKED"]})
    Status = fields.String(metadata={"description": "The state as a sentence."})
    Progress = fields.Float(metadata={"description": "From 0 to 1."})
    Step = fields.Integer(metadata={"description": "Model evaluations done, over all tasks."})
    Steps = fields.Integer()
    Position = fields.Integer(allow_none=True)
    ETA = fields.Float(allow_none=True, metadata={"description": "Seconds until it is done, as far as known."})
    active_model = fields.String()
    Preview = fields.String(
        allow_none=True, metadata={"description": "With preview=true, while it runs: a small JPEG."}
    )
    Error = fields.Dict(metadata={"description": "Why it failed: error and code."})
    Size = fields.List(fields.Integer(), metadata={"description": "Width and height in pixels."})
    Format = fields.String()
    Image = fields.List(fields.String(), metadata={"description": "The images as base64."})
    Grid = fields.String(allow_none=True, metadata={"description": "The grid as base64, if one was asked for."})
    Seeds = fields.List(fields.Integer(), metadata={"description": "The seed of each image."})
    Images = fields.List(fields.String(), metadata={"description": "Links to the images."})
    Grid_image = fields.String(allow_none=True, metadata={"description": "Link to the grid."})
    Download = fields.String(metadata={"description": "Link to all of it as a zip."})
    Parameters = fields.Dict(metadata={"description": "What was used, with warnings."})


class RecentAnswer(Schema):
    """The last successful jobs, newest first."""

    Recent_finished_images = fields.List(fields.String(), metadata={"description": "Status links."})
    Images = fields.List(fields.String(), metadata={"description": "A link to each job's grid or first image."})


class DefaultsAnswer(Schema):
    """What a model is drawn with where a request does not say."""

    ddim_steps = fields.Integer()
    scale = fields.Float()
    sampler = fields.String()
    schedule = fields.String()
    accelerator = fields.String(metadata={"description": "The LoRA that a model is drawn with; none: without."})


class ModelAnswer(Schema):
    """One model of the catalogue."""

    name = fields.String()
    label = fields.String()
    aliases = fields.List(fields.String())
    family = fields.String()
    configs = fields.List(fields.String(), metadata={"description": "Inference yamls that `config` can name."})
    native_size = fields.Integer(metadata={"description": "Pixels a side that it was trained at."})
    min_size = fields.Integer()
    max_size = fields.Integer(metadata={"description": "Pixels a side of the largest square in one pass."})
    max_pixels = fields.Integer(metadata={"description": "Most pixels in one pass, width times height."})
    max_hires_size = fields.Integer(
        metadata={"description": "Pixels a side of the largest square in two passes; see `hires`."}
    )
    one_picture_size = fields.Integer(
        metadata={"description": "Side of the largest square that it draws in one pass without repeating itself."}
    )
    hires = fields.String(metadata={"description": "What the parameter `hires` is where a request has none."})
    size_step = fields.Integer(metadata={"description": "Both sides are multiples of it."})
    available = fields.Boolean(metadata={"description": "Whether a live worker has it."})
    available_on = fields.List(fields.String(), metadata={"description": "Names of workers."})
    warm = fields.Boolean(metadata={"description": "Whether a live worker has it in memory."})
    warm_on = fields.List(fields.String(), metadata={"description": "Names of workers."})
    inpainting = fields.Boolean(
        metadata={"description": "Whether it was trained to be told a mask; any model takes one."}
    )
    distilled = fields.String(
        allow_none=True, metadata={"description": "How it was made to draw in few steps; null where it was not."}
    )
    defaults = fields.Nested(
        DefaultsAnswer, metadata={"description": "What a request is drawn with that does not say."}
    )
    why_not = fields.String(allow_none=True, metadata={"description": "Why no worker has it; null when one has."})
    file = fields.String(allow_none=True, metadata={"description": "Where it lies on the workers; null: not known."})
    title = fields.String(metadata={"description": "The file with its hash, as A1111 has it; `ckpt` can name it so."})
    bytes = fields.Integer(allow_none=True, metadata={"description": "Size of its files; null: not known."})
    dtype = fields.String(allow_none=True, metadata={"description": "Type of most of its weights."})
    hash = fields.String(
        allow_none=True,
        metadata={"description": "First ten digits of the SHA-256; null until a worker has counted it."},
    )
    sha256 = fields.String(allow_none=True)


class OtherFileAnswer(Schema):
    """A file among the models that is none itself."""

    name = fields.String()
    kind = fields.String(
        metadata={
            "description": "lora, vae, embedding, controlnet, t2i-adapter, ip-adapter, upscaler, text-encoder, other."
        }
    )
    family = fields.String(
        allow_none=True, metadata={"description": "The family of models it is for; null: not known."}
    )
    file = fields.String()
    bytes = fields.Integer()
    about = fields.String(metadata={"description": "What it is, after its name."})


class ModelsAnswer(Schema):
    """What `ckpt` can be, and which other files lie among the models."""

    default = fields.String()
    models = fields.List(fields.Nested(ModelAnswer))
    others = fields.List(fields.Nested(OtherFileAnswer))


class HashedFileAnswer(Schema):
    """A file that a request can name."""

    name = fields.String()
    file = fields.String(metadata={"description": "Where it lies on the workers."})
    bytes = fields.Integer()
    hash = fields.String(
        allow_none=True,
        metadata={"description": "First ten digits of the SHA-256; null until a worker has counted it."},
    )
    sha256 = fields.String(allow_none=True)
    why_not = fields.String(allow_none=True, metadata={"description": "Why it cannot be used; null when it can."})


class AcceleratesAnswer(Schema):
    """What a LoRA that can be an `accelerator` makes of a model."""

    kind = fields.String(metadata={"description": "LCM, Lightning and the like."})
    defaults = fields.Nested(
        DefaultsAnswer, metadata={"description": "What a request with it is drawn with that does not say."}
    )


class LoraAnswer(HashedFileAnswer):
    """One LoRA."""

    aliases = fields.List(fields.String())
    title = fields.String(metadata={"description": "What its makers call it, else its name."})
    family = fields.String(allow_none=True, metadata={"description": "The family it changes; null: not known."})
    base = fields.String(allow_none=True, metadata={"description": "What it was trained on, as its file says."})
    trigger_words = fields.List(fields.String(), metadata={"description": "What calls for it in a prompt."})
    tags = fields.List(fields.String(), metadata={"description": "The most frequent tags of its training."})
    accelerates = fields.Nested(
        AcceleratesAnswer, allow_none=True, metadata={"description": "null where it is no accelerator."}
    )


class LorasAnswer(Schema):
    """What `loras` can name."""

    loras = fields.List(fields.Nested(LoraAnswer))


class EmbeddingAnswer(HashedFileAnswer):
    """One textual inversion embedding."""

    name = fields.String(metadata={"description": "What stands for it in a prompt."})
    family = fields.String(allow_none=True, metadata={"description": "The family it is for; null: not known."})
    vectors = fields.Integer(allow_none=True, metadata={"description": "Places that it takes in a prompt."})


class EmbeddingsAnswer(Schema):
    """What a prompt can name."""

    embeddings = fields.List(fields.Nested(EmbeddingAnswer))


class ControlNetAnswer(HashedFileAnswer):
    """One ControlNet."""

    aliases = fields.List(fields.String())
    family = fields.String(allow_none=True, metadata={"description": "The models it is for; null: not known."})


class ControlModeAnswer(Schema):
    """One `mode` of a ControlNet."""

    name = fields.String()
    label = fields.String(metadata={"description": "What the A1111 web UI calls it."})


class ControlNetsAnswer(Schema):
    """What the objects of `controlnet` can name."""

    controlnets = fields.List(fields.Nested(ControlNetAnswer))
    modes = fields.List(fields.Nested(ControlModeAnswer))
    preprocessors = fields.List(fields.String())
    at_most = fields.Integer(metadata={"description": "ControlNets of one request."})


class VaeAnswer(HashedFileAnswer):
    """One VAE, or one tiny decoder."""

    aliases = fields.List(fields.String())
    families = fields.List(fields.String(), metadata={"description": "The families of models that it can work with."})


class VaesAnswer(Schema):
    """What `vae` can name, and what draws with `decoder` tiny."""

    vaes = fields.List(fields.Nested(VaeAnswer))
    tiny = fields.List(fields.Nested(VaeAnswer))


class RefreshAnswer(ModelsAnswer):
    """The models after the workers have looked for new files."""

    looked = fields.List(fields.String(), metadata={"description": "Workers that have looked."})
    busy = fields.List(fields.String(), metadata={"description": "Workers that have not yet; they will."})


class SamplerAnswer(Schema):
    """One sampler of the catalogue."""

    name = fields.String()
    label = fields.String()
    note = fields.String(metadata={"description": "What it is good for."})
    aliases = fields.List(fields.String())
    schedules = fields.List(fields.String(), metadata={"description": "What `schedule` can be with it."})
    uses_eta = fields.Boolean(metadata={"description": "Whether `ddim_eta` changes what it does."})
    evaluations_per_step = fields.Integer(
        allow_none=True, metadata={"description": "Model evaluations a step; null: its own choice."}
    )
    enough_steps = fields.Integer(
        allow_none=True,
        metadata={"description": "With fewer steps images were measurably poorer with the demo model; null: unknown."},
    )
    fits = fields.Boolean(metadata={"description": "Whether nothing is known against it with the model."})
    warnings = fields.List(fields.String(), metadata={"description": "What is, in the words of a job's `warnings`."})


class SamplersAnswer(Schema):
    """What `sampler` can be with a model."""

    model = fields.String()
    default = fields.String(metadata={"description": "The sampler of requests for the model that name none."})
    samplers = fields.List(fields.Nested(SamplerAnswer))


class UpscalerAnswer(Schema):
    """One upscaler."""

    name = fields.String()
    label = fields.String()
    file = fields.String(allow_none=True, metadata={"description": "Where a network lies on the workers."})
    bytes = fields.Integer(allow_none=True)
    available = fields.Boolean()
    why_not = fields.String(allow_none=True, metadata={"description": "Why it cannot be used; null where it can."})


class UpscalersAnswer(Schema):
    """What `upscaler` can be."""

    default = fields.String()
    upscalers = fields.List(fields.Nested(UpscalerAnswer))


class HealthAnswer(Schema):
    """The API process answers."""

    status = fields.String(metadata={"enum": ["ok"]})


class ReadyWorkerAnswer(Schema):
    """What /ready tells of a live worker."""

    name = fields.String()
    variant = fields.String()
    device = fields.String()
    load_ = fields.Float(data_key="load", metadata={"description": "0 is idle, 1 is full."})


class ReadyAnswer(Schema):
    """Whether Redis answers and a worker lives."""

    ready = fields.Boolean()
    redis = fields.Boolean()
    workers = fields.List(fields.Nested(ReadyWorkerAnswer))
    waiting = fields.Integer(allow_none=True, metadata={"description": "Jobs of which no task has begun."})


class WorkerAnswer(Schema):
    """One live worker."""

    name = fields.String()
    variant = fields.String()
    serves = fields.List(fields.String(), metadata={"description": "What `type` it serves."})
    device = fields.String()
    rows = fields.Integer(metadata={"description": "Tasks in hand."})
    room = fields.Integer(metadata={"description": "Tasks that it would take at most now."})
    load_ = fields.Float(data_key="load", metadata={"description": "0 is idle, 1 is full."})
    slots = fields.Integer()
    free_memory = fields.Integer(allow_none=True, metadata={"description": "Bytes on its device; null: not known."})
    warm_models = fields.List(fields.String())
    available_models = fields.List(fields.String())
    missing_models = fields.Dict(
        keys=fields.String(), values=fields.String(), metadata={"description": "Why it cannot serve each."}
    )
    optimal_batch_sizes = fields.List(fields.Dict(), metadata={"description": "By model and size, as measured."})
    remarks = fields.List(
        fields.String(), metadata={"description": "What does not work there as it should, and what is done instead."}
    )


class WorkersAnswer(Schema):
    """Every live worker."""

    workers = fields.List(fields.Nested(WorkerAnswer))
