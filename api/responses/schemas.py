"""The shapes of the answers, for the API document."""

from marshmallow import Schema, fields


class ErrorAnswer(Schema):
    """Every error of every endpoint."""

    error = fields.String(metadata={"description": "A sentence for a person."})
    code = fields.String(metadata={"description": "A stable word for a program."})
    fields_ = fields.Dict(
        keys=fields.String(), values=fields.List(fields.String()), data_key="fields",
        metadata={"description": "What is wrong with which field."},
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
