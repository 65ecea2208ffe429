"""``python -m fairlead_bridge.radio``: the radios of this machine; ``--check`` sends a frame and says what was heard.

Without ``--device`` the check is of a simulated radio before a car and a walker.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from fairlead_bridge.clock import now
from fairlead_bridge.form import to_table
from fairlead_bridge.radio.radio import Radio, RadioConfiguration, RadioError, RadioLost
from fairlead_bridge.radio.scene import Scene, SelfInterference, Target, ground_clutter
from fairlead_bridge.radio.soapy import open_soapy, soapy_devices
from fairlead_bridge.radio.wifi import WifiSensor
from fairlead_bridge.reading import Missing

_TARGETS = (Target("car", 60.0, 14.0, 10.0), Target("walker", 25.0, -6.0, 1.0))


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.check:
        return _list()
    try:
        configuration = RadioConfiguration(options.carrier_hz, options.sample_rate_hz)
        radio = _radio(options, configuration)
        if isinstance(radio, Missing):
            print(f"{parser.prog}: {radio}", file=sys.stderr)
            return 1
        return _check(radio, () if options.device else _TARGETS, options.power_watts)
    except RadioError as error:
        parser.error(str(error))
    except (RadioLost, ImportError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1


def _list() -> int:
    wifi = WifiSensor().read(now())
    print(to_table(wifi) if wifi else f"Wi-Fi  - ({wifi})")
    devices = soapy_devices()
    if isinstance(devices, Missing):
        print(f"SoapySDR  - ({devices})")
    for device in devices or ():
        print(f"SoapySDR  {device.driver}: {device.label} {dict(device.arguments)}")
    if devices == ():
        print("SoapySDR  no device")
    return 0


def _radio(options: argparse.Namespace, configuration: RadioConfiguration) -> Radio | Missing:
    if options.device:
        return open_soapy(dict(part.split("=", 1) for part in options.device.split(",")), configuration)
    from fairlead_bridge.radio.simulated import SimulatedRadio

    scene = Scene(_TARGETS, ground_clutter(30, seed=1, cross_section_m2=1e-3))
    return SimulatedRadio(configuration, replace(scene, self_interference=SelfInterference(100.0)), seed=1)


def _check(radio: Radio, expected: tuple[Target, ...], power_watts: float) -> int:
    from fairlead_bridge.radio.check import listen, resolution

    heard = listen(radio, expected, power_watts=power_watts)
    radio.close()
    range_m, velocity = resolution(radio.configuration)
    print(f"cells of {range_m:.3g} m and {velocity:.3g} m/s")
    for item in heard:
        place = f"{item.range_m:.1f} m, {item.velocity_m_per_s:+.1f} m/s"
        print(f"{item.name}: {place}, {item.above_floor_db:.1f} dB above the floor")
    return 0


def _device(text: str) -> str:
    if not all("=" in part for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: SoapySDR's arguments such as driver=uhd,serial=31")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m fairlead_bridge.radio", description=__doc__)
    add = parser.add_argument
    add("--check", action="store_true", help="send one OFDM frame and listen")
    add("--device", type=_device, metavar="ARGS", help="SoapySDR's arguments: driver=uhd,... (default: simulated)")
    add("--carrier-hz", type=float, default=28e9, help="default %(default)g")
    add("--sample-rate-hz", type=float, default=122.88e6, help="default %(default)g")
    add("--power-watts", type=float, default=1.0, help="of the frame (default %(default)g)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
