"""The service whose batches are a Spark's, with a session in the driver's own process."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from integration_tests import service
from integration_tests.spark.conftest import find_pyspark, new_session


def main() -> int:
    """As any service; Spark's processes end with it, however it ends."""
    find_pyspark()
    with tempfile.TemporaryDirectory() as folder:
        spark = new_session("local[2]", Path(folder))
        try:
            return service.main()
        finally:
            spark.stop()


if __name__ == "__main__":
    sys.exit(main())
