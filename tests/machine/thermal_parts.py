"""Stand-ins for machines and sensors, shared by the tests of heat."""

from pathlib import Path

from scaling.machine import sensors
from scaling.machine.sensors import Reading, Source

FIXTURES = Path(__file__).parent / "thermal_readings"


def fixture(name):
    """What a program printed, from `thermal_readings`."""
    return (FIXTURES / name).read_text()


def planted(*values, name="planted"):
    """A source that gives these values in turn, and then the last one for ever."""
    queue = list(values)

    def read():
        value = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(value, Exception):
            raise value
        if value is None or isinstance(value, Reading):
            return value
        if isinstance(value, str):
            return Reading(name, pressure=value)
        return Reading(name, celsius=value)

    return Source(name, read)


def commands(monkeypatch, answers):
    """Let commands print what `answers` says for their first word; all others are missing."""
    asked = []

    def run(*command):
        asked.append(command)
        return answers.get(command[0])

    monkeypatch.setattr(sensors, "_run", run)
    return asked


def on(monkeypatch, system, machine):
    """Pretend to run on this platform."""
    monkeypatch.setattr(sensors.platform, "system", lambda: system)
    monkeypatch.setattr(sensors.platform, "machine", lambda: machine)
