"""A Spark session of the tests, with the pyspark and the jars that `make build/peers/.ready` fetches."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from integration_tests.servers import KafkaServer
from integration_tests.spark.tasks import Tasks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PEERS = Path(__file__).parents[2] / "build" / "peers"


@pytest.fixture(scope="session", autouse=True)
def pyspark() -> None:
    """See ``find_pyspark``."""
    find_pyspark()


def find_pyspark() -> None:
    """Behind everything that is installed here: pyspark is all that comes from there."""
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["PYSPARK_PYTHON"] = sys.executable
    sys.path += map(str, (PEERS / "lib").glob("python3*/site-packages"))


@pytest.fixture(scope="session")
def spark_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For what Spark writes on the way."""
    return tmp_path_factory.mktemp("spark")


@pytest.fixture(scope="session")
def _spark_ends(pyspark: None) -> Iterator[None]:
    yield
    from pyspark.sql import SparkSession

    SparkSession.builder.getOrCreate().stop()
    gc.collect()  # of the sockets that pyspark leaves open, while the tests' filter holds


def new_session(master: str, folder: Path, more: Mapping[str, str] | None = None) -> SparkSession:
    """The session that there is, or a new one at ``master``."""
    from pyspark.sql import SparkSession

    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "1g",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.extraClassPath": f"{PEERS}/jars/*",
        "spark.local.dir": str(folder),
        "spark.sql.warehouse.dir": f"{folder}/warehouse",
        "spark.log.level": "OFF",
    }
    builder = SparkSession.builder.master(master).appName("tests")
    for name, value in {**settings, **(more or {})}.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


@pytest.fixture
def spark(_spark_ends: None, spark_folder: Path) -> SparkSession:
    """A session on two cores of this machine; one that a test has ended is replaced."""
    return new_session("local[2]", spark_folder)


@pytest.fixture
def tasks(spark: SparkSession, kafka: KafkaServer) -> Iterator[Tasks]:
    """Batches that Spark reads of the session's broker; what runs yet ends with the test."""
    with Tasks(spark, {"bootstrap.servers": kafka.bootstrap_servers}) as found:
        yield found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sockets by which results come from Java are left to the garbage collector by pyspark."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))
