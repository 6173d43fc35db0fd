"""Tests of an application against real databases, each in a container that lives for one test."""

from collections.abc import Iterator

import pytest
import sqlalchemy
from testcontainers.community.postgres import PostgresContainer
from testcontainers.community.redis import RedisContainer


@pytest.fixture
def database() -> Iterator[sqlalchemy.Engine]:
    with PostgresContainer("example-postgres") as container:
        engine = sqlalchemy.create_engine(container.get_connection_url())
        yield engine
        engine.dispose()


def test_a_sale_takes_from_the_stock(database: sqlalchemy.Engine) -> None:
    run = sqlalchemy.text
    with database.begin() as shop:
        shop.execute(run("CREATE TABLE stock (item text, count int CHECK (count >= 0))"))
        shop.execute(run("INSERT INTO stock VALUES ('pear', 3)"))

    with database.begin() as shop:
        shop.execute(run("UPDATE stock SET count = count - 2 WHERE item = 'pear'"))
    with pytest.raises(sqlalchemy.exc.IntegrityError), database.begin() as shop:
        shop.execute(run("UPDATE stock SET count = count - 2 WHERE item = 'pear'"))

    with database.begin() as shop:
        assert shop.execute(run("SELECT count FROM stock")).scalar_one() == 1


def test_visits_are_counted() -> None:
    with RedisContainer("example-redis") as container:
        client = container.get_client()

        assert [client.incr("visits") for _ in range(3)] == [1, 2, 3]
