"""Has the tests of this folder run at the same time.

A test may have its parameters, and of fixtures `bed`, `record_property`, `running`, `shop`, `tmp_path` and `traced`.
"""

from typing import Any
from uuid import uuid4

import pytest

from tests import batches
from tests.shop import Shop


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    request = pyfuncitem._request

    def prepared(test: Any) -> batches.Call:
        shop = Shop(request.getfixturevalue("bed"), f"shop-{uuid4().hex[:6]}")
        said = test.user_properties
        own: dict[str, object] = {"shop": shop, "record_property": lambda name, value: said.append((name, value))}
        if "tmp_path" in test.fixturenames:
            own["tmp_path"] = request.getfixturevalue("tmp_path_factory").mktemp("at-once")
        arguments = batches.arguments(test, request, **own)

        def call() -> None:
            try:
                test.obj(**arguments)
            finally:
                shop.close()

        return call

    batches.wait(pyfuncitem, prepared)
    return True
