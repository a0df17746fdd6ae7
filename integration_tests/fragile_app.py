"""The service's stream as ``MODULE:STREAM`` of the command line; ``ServiceSettings`` are in the environment."""

from integration_tests.service import build
from integration_tests.service_settings import ServiceSettings

stream = build(ServiceSettings.from_environment())
