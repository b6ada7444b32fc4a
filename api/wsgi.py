"""What gunicorn loads: the application over the real services."""

import sys

from api.app import create_app
from api.services import build_services
from shared.logs import configure_logging
from shared.open_access import require_own_keys
from shared.queue import connect
from shared.redis.server import warn_of_risk
from shared.settings import SettingsError, read_settings

settings = read_settings()
configure_logging(settings)
try:
    require_own_keys(settings)
except SettingsError as wrong:
    sys.exit(f"api: {wrong}")
warn_of_risk(connect(settings))
app = create_app(build_services(settings))
