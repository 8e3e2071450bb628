"""The arithmetic of benchmarks/scale.py, on numbers worked out by hand."""

import importlib.util
import math

import pytest
from conftest import ROOT

SPEC = importlib.util.spec_from_file_location("scale_model", ROOT / "benchmarks" / "scale_model.py")
scale = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(scale)

COSTS = scale.Costs(
    listing=1.0,
    hashing=3.0,
    file_bytes=100.0,
    id_bytes=10.0,
    decoding=2.0,
    augmenting=5.0,
    backbone=7.0,
    sampling=8.0,
    writing=0.5,
    sample_bytes=20.0,
    ordering=0.01,
    fetching=0.02,
    learning=0.25,
    stepping=1.5,
    guessing=0.125,
    dense=40.0,
    sparse=10.0,
    scoring=6.0,
    drawing=0.1,
    parameters=1000,
    classes=3,
)
CASE = scale.Case(
    "small", 8, 2, samples=4, pretrain_epochs=2, train_epochs=3, pretrain_batch=16, train_batch=4, draws=5
)
ONE = scale.Machines(cores=2, disk=50.0, network=100.0, memory=1e9)
MANY = ONE._replace(number=2, memory=0, accelerator=4)


def test_extract_on_one_machine():
    # 10 images; 40 samples; all of it shares two cores but the disk
    load = scale.extract(COSTS, CASE, ONE)
    assert load.parts == {"start": 40, "decode": 10, "backbone": 40, "write": 20, "disk": (1000 + 800) / 50}
    assert load.seconds == 40 + max(10 + 40 + 20 / 2, 40 + 20, 36)
    assert load.first == "start"


def test_extract_on_two_machines_with_accelerators():
    load = scale.extract(COSTS, CASE, MANY)
    assert load.parts == {"start": 40, "decode": 5, "backbone": 10, "write": 10, "disk": 18}
    assert load.seconds == 40 + max(10 + 10, 5 + 5, 18)


def test_pretrain_on_one_machine_reads_the_store_once():
    # 32 train samples in 2 steps, 8 val samples; 2 epochs
    load = scale.pretrain(COSTS, CASE, ONE)
    classifier = 2 * (32 * 0.25 + 8 * 0.125) / 2
    assert load.parts == pytest.approx(
        {"start": 40, "fetch": 2 * 40 * 0.02 / 2, "classifier": classifier, "steps": 6, "order": 0.64, "disk": 16}
    )
    assert load.seconds == pytest.approx(40 + 16)


def test_pretrain_on_two_machines_orders_all_and_reads_all():
    load = scale.pretrain(COSTS, CASE, MANY)
    assert load.parts["order"] == pytest.approx(0.64)
    assert load.parts["disk"] == pytest.approx(2 * 16)
    assert load.parts["all-reduce"] == 2 * 2 * 4000 / 100
    assert load.parts["classifier"] == pytest.approx((32 * 0.25 + 8 * 0.125) / 4)
    assert (load.seconds, load.first) == (40 + 160, "all-reduce")


def test_train():
    load = scale.train(COSTS, CASE, ONE)
    assert load.parts == {
        "start": 40,
        "decode": 3 * (8 * 5 + 2 * 2) / 2,
        "model": 3 * (8 * 40 + 2 * 6) / 2,
        "steps": 3 * 2 * 1.5,
        "disk": 1000 / 50,
    }
    assert load.seconds == 40 + 66 + 498 + 9 / 2
    assert scale.train(COSTS, CASE, ONE, dense=False).parts["model"] == 3 * (8 * 10 + 2 * 6) / 2
    assert scale.train(COSTS, CASE, MANY).parts["all-reduce"] == 3 * 2 * 40
    assert scale.train(COSTS, CASE, MANY).parts["disk"] == 1000 * 3 / 2 / 50


def test_evaluate():
    load = scale.evaluate(COSTS, CASE, ONE)
    assert load.parts == pytest.approx({"start": 40, "decode": 2, "model": 6, "bootstrap": 2 * 5 * 0.1, "disk": 4})


def test_the_start_is_as_slow_as_the_disk():
    assert scale.start(COSTS, CASE, ONE._replace(disk=10.0)) == 1000 / 10


def test_sizes():
    assert scale.store_bytes(COSTS, CASE) == 800
    assert scale.ids_bytes(COSTS, CASE) == 100
    assert scale.counts_bytes(COSTS, CASE) == 2 * 2 * 9 * 8 * 2
    assert scale.reduced(COSTS, ONE) == 0
    assert scale.reduced(COSTS, ONE._replace(number=4)) == 1.5 * 4000 / 100
    assert scale.reduced(COSTS, ONE._replace(number=4, network=math.inf)) == 0
