"""An upgrade from the previous version and a downgrade to it, with plans under way; and CRDs that are too old."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests import previous, upgrades
from tests.bed import Bed
from tests.bed.processes import answers, page, until
from tests.shop import ROOT, Operator, Shop, define


@pytest.fixture
def older(bed: Bed, alone: None, tmp_path: Path) -> Iterator[Path]:
    """The previous version, unpacked. Afterwards the bed has the CRDs of this one."""
    try:
        yield previous.unpack(tmp_path)
    except previous.NotThereError as error:
        pytest.skip(str(error))
    finally:
        define(bed)


def test_plans_go_on_across_an_upgrade_and_a_downgrade(bed: Bed, older: Path) -> None:
    upgrades.change_versions(bed, older, upgrades.FEW)


def stage_fields(bed: Bed) -> dict[str, object]:
    """The fields of `status.stage` that the API server says it has: it takes a new CRD in a moment later."""
    schemas = bed.get("/openapi/v3/apis/rolloutplan.dev/v1alpha1")["components"]["schemas"]
    status = schemas["dev.rolloutplan.v1alpha1.RolloutPlan"]["properties"]["status"]
    found: dict[str, object] = status["properties"]["stage"]["properties"]
    return found


def test_under_crds_that_lack_a_field_an_operator_waits_and_starts_when_they_come(bed: Bed, alone: None) -> None:
    lacking = yaml.safe_load((ROOT / "deploy/crds/rolloutplan.dev_rolloutplans.yaml").read_text())
    schema = lacking["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    del schema["status"]["properties"]["stage"]["properties"]["stability"]
    shop, words = Shop(bed, "crds-older", replicas=1).open(), "they lack status.stage.stability"
    shop.start(**upgrades.SLOW)
    bed.apply(lacking)
    until(lambda: "stability" not in stage_fields(bed), 30, "the fields of the older CRD")
    options = ["--lease-name=crds-older", "--identity=early"]
    operator = Operator(bed, options=options, port=upgrades.PORTS, name="early")
    try:
        operator.process.spawn()
        until(lambda: words in page(f"{operator.url}/readyz"), 30, "why it is not ready")
        status = shop.until("Invalid")
        assert (status["reason"], words in status["message"]) == ("CRDsOutdated", True)
        define(bed)
        shop.until("Judging/w25", timeout=60)
        assert answers(f"{operator.url}/readyz")
    finally:
        operator.process.kill()
        define(bed)
        shop.close()
