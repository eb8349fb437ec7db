"""What several unit tests begin with."""

import pytest
from helpers.admin_house import AdminHouse
from twisted.logger import globalLogPublisher


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A daemon with an admin side, which runs; a module whose house is another has its own."""
    house = AdminHouse(tmp_path, monkeypatch)
    house.start(house.configuration())
    yield house
    house.close()


@pytest.fixture
def logged():
    """What is logged, one event each."""
    found = []
    globalLogPublisher.addObserver(found.append)
    yield found
    globalLogPublisher.removeObserver(found.append)
