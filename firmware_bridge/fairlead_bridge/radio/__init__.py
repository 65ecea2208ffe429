"""Radios behind one interface: a simulated one, those that SoapySDR drives, and what Wi-Fi cards say of themselves."""
