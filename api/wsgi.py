"""What gunicorn loads: the application over the real services."""

from api.app import create_app
from api.services import build_services
from shared.logs import configure_logging
from shared.settings import read_settings

settings = read_settings()
configure_logging(settings)
app = create_app(build_services(settings))
