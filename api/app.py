"""The application factory."""

import logging

from flask import Flask
from flask_smorest import Api
from werkzeug.middleware.proxy_fix import ProxyFix

from api.dialects.a1111.agent_scheduler import PREFIX as AGENT_SCHEDULER
from api.dialects.a1111.agent_scheduler import agent_scheduler_blueprint
from api.dialects.a1111.blueprint import PREFIX as A1111
from api.dialects.a1111.blueprint import a1111_blueprint
from api.dialects.a1111.controlnet import PREFIX as CONTROLNET
from api.dialects.a1111.controlnet import controlnet_blueprint
from api.dialects.a1111.errors import a1111_error
from api.dialects.native import native_blueprint
from api.dialects.openai.blueprint import openai_blueprint
from api.dialects.openai.errors import openai_error
from api.dialects.receipts.blueprint import receipts_blueprint
from api.document import describe_keys, spec_options
from api.http.access_log import keep_trail
from api.http.cors import allow_origins
from api.http.errors import register_error_handlers
from api.http.headers import harden
from api.http.hosts import refuse_foreign_pages
from api.responses.schemas import ErrorAnswer
from api.routes.adapters import adapters_blueprint
from api.routes.catalogue import catalogue_blueprint
from api.routes.docs import docs_blueprint
from api.routes.events import events_blueprint
from api.routes.jobs import jobs_blueprint
from api.routes.ops import ops_blueprint
from api.routes.pages import pages_blueprint
from api.services import Services
from shared.open_access import require_own_keys
from shared.settings import DUMMY_API_KEY
from shared.version import VERSION

log = logging.getLogger(__name__)


class _Api(Api):  # type: ignore[misc]  # flask-smorest ships no types
    ERROR_SCHEMA = ErrorAnswer


def create_app(services: Services) -> Flask:
    """A Flask application over these services; building it twice gives two that know nothing of each other.

    Raises SettingsError where the public dummy key would open the service to other machines.
    """
    require_own_keys(services.settings)
    app = Flask(__name__, static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=services.settings.max_body_bytes,
        API_TITLE="Personal Diffusion",
        API_VERSION=VERSION,
        OPENAPI_VERSION="3.0.3",
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it
    app.extensions["stopping"] = services.stopping
    app.extensions["services"] = services
    if services.settings.proxy_count:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=services.settings.proxy_count, x_proto=0, x_host=0
        )
    api = _Api(app, spec_kwargs=spec_options())
    describe_keys(api.spec, services.settings)
    for blueprint in (
        native_blueprint, receipts_blueprint, openai_blueprint, a1111_blueprint, agent_scheduler_blueprint,
        controlnet_blueprint,
        jobs_blueprint, events_blueprint, catalogue_blueprint, adapters_blueprint, ops_blueprint, pages_blueprint,
    ):  # fmt: skip
        api.register_blueprint(blueprint(services))
    api.register_blueprint(docs_blueprint(api.spec.to_dict))
    a1111 = dict.fromkeys((A1111, AGENT_SCHEDULER, f"{CONTROLNET}/"), a1111_error)
    register_error_handlers(app, {"/v1/": openai_error, **a1111})
    keep_trail(app, services.settings)
    refuse_foreign_pages(app, services.settings)
    harden(app)
    allow_origins(app, services.settings.cors_origins)
    if services.settings.open_access:
        log.warning("OPEN_ACCESS is set: nobody needs a key here")
    elif not services.settings.api_keys:
        log.warning("API_KEYS is not set: the public dummy key %s opens this server", DUMMY_API_KEY)
    return app
