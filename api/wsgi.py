"""What gunicorn loads: the application over the real services."""

import logging

from api.app import create_app
from api.services import build_services
from shared.settings import read_settings

settings = read_settings()
logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
app = create_app(build_services(settings))
