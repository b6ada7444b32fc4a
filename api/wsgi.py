"""What gunicorn loads: the application over the real services."""

from api.app import create_app
from api.services import build_services
from shared.logs import configure_logging
from shared.queue import connect
from shared.redis_server import warn_of_risk
from shared.settings import read_settings

settings = read_settings()
configure_logging(settings)
warn_of_risk(connect(settings))
app = create_app(build_services(settings))
