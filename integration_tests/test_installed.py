"""The README's example, installed as users install it, on real servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from integration_tests.servers import KafkaServer, PostgresDatabase
from tests.installed import ROOT, Built, Environment, readme_example, shop


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built.into(tmp_path_factory.mktemp("built"))


@pytest.mark.parametrize("kind", ["wheel", "sdist", "editable"])
def test_the_readmes_example_runs(
    kafka: KafkaServer, postgres: PostgresDatabase, built: Built, tmp_path: Path, kind: str
) -> None:
    topic = kafka.create_topic()
    kafka.produce(topic, [(str(n), json.dumps({"id": n, "customer": "ada", "amount": n})) for n in range(50)])
    postgres.execute("CREATE TABLE orders (id bigint, customer text, amount bigint)")
    installed = Environment(tmp_path / kind)
    installed.install(*{"wheel": [str(built.wheel)], "sdist": [str(built.sdist)], "editable": ["-e", str(ROOT)]}[kind])
    folder = shop(tmp_path / "user", example=_on(kafka, postgres, topic))
    for _ in range(2):
        installed.run(folder, "kafka-stream", "run", "shop:stream", "--until", "latest")
    assert postgres.execute("SELECT count(*), count(DISTINCT id), sum(amount) FROM orders") == [(50, 50, 1225)]


def _on(kafka: KafkaServer, postgres: PostgresDatabase, topic: str) -> str:
    """The example with this test's servers, topic and name in place of its own; its table stays ``orders``."""
    places = {
        '"localhost:9092"': f'"{kafka.bootstrap_servers}"',
        '"postgresql://localhost/shop"': f'"{postgres.url}"',
        'name="orders", topics=["orders"]': f'name="{topic}", topics=["{topic}"]',
    }
    example = readme_example()
    for place, ours in places.items():
        assert example.count(place) == 1
        example = example.replace(place, ours)
    return example
