"""The guard warns, pauses and stops as configured, and no broken sensor counts as normal."""

import dataclasses
import json
import math
import re
import threading
import time
from pathlib import Path

import pytest
import yaml

from scaling import thermal
from scaling.config import ThermalConfig
from scaling.machine import guard as guards
from scaling.machine.guard import ThermalGuard
from scaling.machine.sensors import Reading
from tests.machine.thermal_parts import commands, fixture, on, planted


def guarded(*sources, **config):
    return ThermalGuard(ThermalConfig(**config), "cpu", sources=list(sources))


def levels(guard, polls, step=5.0):
    seen = []
    for i in range(polls):
        guard.poll_once(i * step)
        seen.append(guard.level)
    return seen


def test_thermal_callback_logs_temperature(monkeypatch, caplog):
    on(monkeypatch, "Darwin", "x86_64")
    asked = commands(monkeypatch, {"sudo": fixture("powermetrics_smc_intel.txt")})
    guard = ThermalGuard(ThermalConfig(), "cpu")
    guard.poll_once(0.0)
    assert " ".join(asked[0]) == "sudo -n powermetrics --samplers smc -i 200 -n 1"
    assert guard.latest.celsius == 61.23
    assert guard.summary()["max_celsius"] == 61.23
    assert "normal: 61.2 °C (powermetrics smc)" in caplog.text


def test_thermal_callback_warns_at_85c(caplog):
    guard = guarded(planted(84.9, 85.0))
    assert levels(guard, 2) == ["acceptable", "warning"]
    assert "warning: 85.0 °C" in caplog.text
    assert (guard.stop_reason, guard.wait_if_hot()) == (None, 0.0)  # it pauses only if asked to


def test_thermal_callback_stops_at_95c(caplog):
    guard = guarded(planted(95.0))
    assert guard.poll_once(0.0) == guards.CONFIRM_SECONDS
    assert guard.stop_reason is None
    guard.poll_once(1.0)
    assert "95.0 °C" in guard.stop_reason
    assert "stopping" in caplog.text


def test_thermal_callback_graceful_when_unavailable(monkeypatch, caplog):
    on(monkeypatch, "Darwin", "x86_64")
    commands(monkeypatch, {})
    with ThermalGuard(ThermalConfig(), "cpu") as guard:
        assert guard.wait_if_hot() == 0.0
    assert caplog.text.count("no sensor found") == 1
    assert (guard.stop_reason, guard.level, guard.latest) == (None, "unknown", None)
    assert guard.summary()["max_celsius"] is None


def test_thresholds_come_from_the_config():
    guard = guarded(planted(61.0), acceptable=40, warning=50, critical=60)
    levels(guard, 2)
    assert guard.stop_reason is not None


def test_a_level_starts_at_its_threshold_and_is_left_only_three_degrees_below_it():
    guard = guarded(planted(69.9, 70.0, 84.9, 85.0, 84.0, 82.0, 81.9, 84.9, 67.0, 66.9))
    assert levels(guard, 10) == [
        *("normal", "acceptable", "acceptable", "warning", "warning", "warning"),
        *("acceptable", "acceptable", "acceptable", "normal"),
    ]


@pytest.mark.parametrize(
    ("readings", "reached", "stops"),
    [
        ((96.0, 94.0, 96.0, 60.0), ["warning", "warning", "warning", "normal"], False),
        ((96.0, None, 96.0), ["warning", "unknown", "critical"], True),
    ],
)
def test_a_second_critical_reading_stops_unless_another_came_between(readings, reached, stops):
    guard = guarded(planted(*readings))
    assert levels(guard, len(readings)) == reached
    assert (guard.stop_reason is not None) == stops


def test_no_reading_is_unknown_and_its_seconds_are_not_normal():
    guard = guarded(planted(None, None, 60.0))
    assert levels(guard, 3) == ["unknown", "unknown", "normal"]
    assert guard.summary()["seconds"]["normal"] == 0.0
    assert guard.summary()["seconds"]["unknown"] == 10.0


IMPOSSIBLE = [math.nan, math.inf, -math.inf, -1.0, 0.0, 10.0, 130.1, 255.0]
GARBAGE = ["hot", Reading("planted"), RuntimeError("driver"), OSError()]


@pytest.mark.parametrize("given", [*IMPOSSIBLE, *GARBAGE])
def test_impossible_temperatures_garbage_and_exceptions_are_no_reading(given):
    guard = guarded(planted(given))
    guard.poll_once(0.0)
    assert (guard.level, guard.latest) == ("unknown", None)


def test_a_source_that_fails_three_times_in_a_row_is_dropped_with_one_line(caplog):
    levels(guarded(planted(None, None, 60.0, None, None, 61.0)), 6)
    assert "dropped" not in caplog.text
    guard = guarded(planted(RuntimeError("gone"), name="bad"), planted(60.0, name="good"))
    assert levels(guard, 6) == ["normal"] * 6
    assert caplog.text.count("bad dropped") == 1
    assert "gone" in caplog.text and "left: good" in caplog.text


def test_losing_the_last_source_is_said_and_stops_nothing(caplog):
    guard = guarded(planted(60.0, None))
    assert levels(guard, 5)[-1] == "unknown"
    assert "unguarded" in caplog.text
    assert guard.stop_reason is None


def test_a_stuck_sensor_is_flagged_and_the_next_source_is_used(caplog):
    guard = guarded(planted(60.0, name="stub"), planted(*range(71, 99), name="live"))
    levels(guard, 13)
    assert guard.latest.source == "live"
    assert guard.summary()["stuck"] == ["stub"]
    assert caplog.text.count("may be stuck") == 1


def test_a_stuck_sensor_with_no_other_is_unknown_and_a_pressure_level_may_stay():
    assert levels(guarded(planted(60.0)), 14)[-1] == "unknown"
    assert levels(guarded(planted("normal")), 20)[-1] == "normal"


def test_a_stuck_sensor_that_moves_again_gets_its_place_back():
    guard = guarded(planted(*[60.0] * 14, 61.0, name="slow"), planted(50.0, 51.0, name="other"))
    levels(guard, 15)
    assert (guard.latest.source, guard.level) == ("slow", "normal")


def test_a_sensor_stuck_at_a_critical_temperature_still_stops():
    guard = guarded(planted(96.0), planted(*[50.0, 51.0] * 10))
    guard.config = ThermalConfig(log_only=True)
    levels(guard, 14)
    assert guard.summary()["stuck"] == ["planted"]
    guard.config = ThermalConfig()
    guard.poll_once(70.0)
    guard.poll_once(71.0)
    assert guard.stop_reason is not None


def test_log_only_neither_stops_nor_pauses(caplog):
    guard = guarded(planted(99.0), log_only=True, pause_on_warning=True)
    assert levels(guard, 3) == ["warning", "critical", "critical"]
    assert guard.stop_reason is None
    assert guard.wait_if_hot() == 0.0
    assert "critical: 99.0" in caplog.text


@pytest.mark.parametrize("limit", [87.0, 80.0])  # above and below the warning
def test_the_gpus_own_slowdown_caps_the_critical_threshold(limit):
    guard = guarded(planted(Reading("NVML", celsius=limit + 1, limit=limit)))
    levels(guard, 2)
    assert f"critical is {limit:g} °C" in guard.stop_reason


def test_a_warning_pauses_until_it_has_cooled_and_the_pause_is_counted():
    guard = guarded(planted(90.0, 83.0, 81.0), pause_on_warning=True)
    guard.poll_once(0.0)
    cooling = threading.Timer(0.1, lambda: (guard.poll_once(5.0), guard.poll_once(10.0)))
    cooling.start()
    held = guard.wait_if_hot()
    cooling.join()
    assert held > 0.0
    assert guard.level == "acceptable"
    assert guard.summary()["seconds_paused"] == held
    assert guard.wait_if_hot() == 0.0


def test_a_pause_ends_at_its_longest_and_is_not_repeated_before_it_has_cooled():
    guard = guarded(planted(90.0, 91.0, 60.0, 90.0), pause_on_warning=True, max_pause_seconds=0.01)
    guard.poll_once(0.0)
    assert guard.wait_if_hot() > 0.0
    guard.poll_once(5.0)
    assert guard.wait_if_hot() == 0.0
    guard.poll_once(10.0)
    guard.poll_once(15.0)
    assert guard.wait_if_hot() > 0.0


def test_a_sensor_that_fails_in_a_pause_does_not_count_as_cooled():
    guard = guarded(planted(90.0, None), pause_on_warning=True, max_pause_seconds=0.05)
    guard.poll_once(0.0)
    guard.poll_once(5.0)
    assert guard.wait_if_hot() >= 0.05


def test_a_critical_temperature_ends_a_pause_so_that_the_run_can_stop():
    guard = guarded(planted(90.0, 96.0), pause_on_warning=True, max_pause_seconds=0.05)
    guard.poll_once(0.0)
    guard.poll_once(5.0)
    guard.poll_once(6.0)
    assert guard.stop_reason is not None
    assert guard.wait_if_hot() == 0.0


def test_a_signal_ends_a_pause():
    guard = guarded(planted(90.0), pause_on_warning=True)
    guard.poll_once(0.0)
    assert guard.wait_if_hot(interrupted=lambda: True) < 600


def test_the_summary_has_extremes_mean_and_seconds_per_level_and_is_json():
    guard = guarded(planted(60.0, 80.0, 70.0))
    levels(guard, 3)
    summary = guard.summary()
    assert (summary["min_celsius"], summary["mean_celsius"], summary["max_celsius"]) == (60, 70, 80)
    assert (summary["seconds"]["normal"], summary["seconds"]["acceptable"]) == (5.0, 5.0)
    assert summary["sources"] == ["planted"]
    json.dumps(summary, allow_nan=False)


def test_the_thread_stops_a_run_by_itself(monkeypatch):
    monkeypatch.setattr(guards, "CONFIRM_SECONDS", 0.01)
    with guarded(planted(96.0)) as guard:
        deadline = time.monotonic() + 30
        while guard.stop_reason is None and time.monotonic() < deadline:
            time.sleep(0.01)
    assert guard.stop_reason is not None
    assert not any(thread.name == "thermal" for thread in threading.enumerate())


def test_apple_silicon_prefers_temperatures_to_pressure(monkeypatch):
    on(monkeypatch, "Darwin", "arm64")
    answers = {"macmon": fixture("macmon_pipe.json"), "notifyutil": fixture("notifyutil.txt")}
    commands(monkeypatch, answers)
    guard = ThermalGuard(ThermalConfig(), "mps")
    guard.poll_once(0.0)
    assert guard.latest.source == "macmon"
    del answers["macmon"]
    guard.poll_once(5.0)
    assert (guard.latest.source, guard.level) == ("notifyutil", "normal")


def test_the_command_prints_every_source_and_its_reading(monkeypatch, capsys):
    on(monkeypatch, "Darwin", "arm64")
    commands(monkeypatch, {"macmon": fixture("macmon_pipe.json")})
    thermal.main([])
    said = capsys.readouterr().out
    assert "macmon: 71.7 °C (macmon)" in said
    assert "notifyutil: nothing (no reading)" in said
    assert "1 sensor(s) answer" in said


def test_the_defaults_on_the_page_about_heat_are_those_of_the_config():
    (block,) = re.findall(r"```yaml\n(.*?)```", Path("docs/heat.md").read_text(), re.DOTALL)
    assert yaml.safe_load(block) == {"thermal": dataclasses.asdict(ThermalConfig())}
