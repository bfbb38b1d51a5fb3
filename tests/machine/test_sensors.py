"""Sensors and programs are read as documented, and whatever else they say is no reading."""

import json
import subprocess
import sys
import types

import psutil
import pytest

from scaling.machine import sensors
from tests.machine.thermal_parts import commands, fixture, on


def test_powermetrics_has_a_temperature_on_intel_and_none_on_apple_silicon():
    parse = sensors.parse_powermetrics_temperature
    assert parse(fixture("powermetrics_smc_intel.txt")).celsius == 61.23
    assert parse(fixture("powermetrics_thermal_apple_silicon.txt")) is None


def test_pressure_levels_are_parsed_from_powermetrics_and_notifyutil():
    words = ("Nominal", "Moderate", "Heavy", "Trapping", "Sleeping")
    levels = ("normal", "acceptable", "warning", "critical", "critical")
    for number, (word, level) in enumerate(zip(words, levels, strict=True)):
        text = fixture("powermetrics_thermal_apple_silicon.txt").replace("Nominal", word)
        assert sensors.parse_powermetrics_pressure(text).pressure == level
        text = fixture("notifyutil.txt").replace("0", str(number))
        assert sensors.parse_notifyutil(text).pressure == level


@pytest.mark.parametrize("text", ["", "0", "com.apple.system.other 0", "Failed 1000"])
def test_notifyutil_output_that_does_not_name_the_level_is_no_reading(text):
    assert sensors.parse_notifyutil(text) is None


def test_an_unknown_pressure_word_is_no_reading():
    text = fixture("powermetrics_thermal_apple_silicon.txt").replace("Nominal", "Unknown")
    assert sensors.parse_powermetrics_pressure(text) is None


def test_macmon_reads_the_hotter_of_processor_and_gpu_and_zero_is_a_sensor_that_is_not_there():
    assert sensors.parse_macmon(fixture("macmon_pipe.json")).celsius == 71.73614
    data = json.loads(fixture("macmon_pipe.json"))
    data["temp"]["cpu_temp_avg"] = 0.0
    assert sensors.parse_macmon(json.dumps(data)).celsius == 66.95167
    data["temp"]["gpu_temp_avg"] = 0.0
    assert sensors.parse_macmon(json.dumps(data)) is None


@pytest.mark.parametrize("output", ["", "{", "[]", '{"temp": null}', "zsh: not found"])
def test_garbage_from_a_program_is_no_reading(monkeypatch, output):
    on(monkeypatch, "Darwin", "arm64")
    commands(monkeypatch, {"macmon": output, "notifyutil": output, "sudo": output})
    assert [sensors.attempt(s)[0] for s in sensors.candidates("mps")] == [None, None, None]


def test_linux_reads_processors_and_never_the_case_or_a_disk(monkeypatch):
    def shows(**chips):
        found = {
            chip: [types.SimpleNamespace(current=value) for value in values]
            for chip, values in chips.items()
        }
        monkeypatch.setattr(psutil, "sensors_temperatures", lambda: found, raising=False)

    on(monkeypatch, "Linux", "x86_64")
    (source,) = sensors.candidates("cpu")
    shows(acpitz=[99.0], nvme=[80.0], coretemp=[55.0, 62.0, 0.0])
    assert source.read().celsius == 62.0
    shows(acpitz=[99.0], nvme=[80.0])
    assert source.read() is None


class NvmlError(Exception):
    pass


def fake_nvml(monkeypatch, **told):
    """The source of a GPU whose driver tells no more than this."""

    def missing(*_):
        raise NvmlError("Function Not Found")

    nvml = types.ModuleType("pynvml")
    nvml.NVMLError = NvmlError
    nvml.NVML_TEMPERATURE_GPU, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN = 0, 1
    nvml.nvmlInit = lambda: None
    nvml.nvmlDeviceGetCount = lambda: 1
    nvml.nvmlDeviceGetHandleByIndex = lambda index: index
    for name in ("TemperatureV", "Temperature", "MarginTemperature", "TemperatureThreshold"):
        answer = (lambda *_, name=name: told[name]) if name in told else missing
        setattr(nvml, f"nvmlDeviceGet{name}", answer)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    on(monkeypatch, "Linux", "x86_64")
    return sensors.candidates("cuda")[0]


@pytest.mark.parametrize(
    ("told", "limit"),
    [
        ({"TemperatureV": 64, "TemperatureThreshold": 89}, 87.0),
        ({"TemperatureV": 64, "MarginTemperature": 23}, 85.0),
        ({"Temperature": 64}, None),  # an old driver
    ],
)
def test_nvidia_is_read_and_its_slowdown_minus_two_is_the_limit(monkeypatch, told, limit):
    reading = fake_nvml(monkeypatch, **told).read()
    assert (reading.celsius, reading.limit) == (64.0, limit)


def test_an_nvidia_gpu_that_does_not_answer_is_no_reading(monkeypatch):
    reading, problem = sensors.attempt(fake_nvml(monkeypatch))
    assert reading is None
    assert "Function Not Found" in problem


def test_a_hanging_program_is_killed_and_is_no_reading(monkeypatch):
    monkeypatch.setattr(sensors, "COMMAND_TIMEOUT", 0.2)
    assert sensors._run("sh", "-c", "sleep 1000; echo 60") is None


def test_a_program_that_asks_for_a_password_finds_no_one_to_ask():
    script = (
        "from scaling.machine import sensors\n"
        "print(sensors._run('sh', '-c', 'read answer && echo $answer || echo nobody'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input="secret\n", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "nobody"


def test_a_missing_or_failing_program_is_no_reading():
    assert sensors._run("no-such-program-here") is None
    assert sensors._run("sh", "-c", "echo 60; exit 1") is None
