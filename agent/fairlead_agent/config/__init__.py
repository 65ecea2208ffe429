"""Configuration files: profiles of devices, workloads and fleets, in YAML.

An error is one line that names file, line, key, value and what is accepted.
"""

from fairlead_agent.config.errors import ConfigError
from fairlead_agent.config.fleet import AgentEntry, FleetConfig, load_fleet
from fairlead_agent.config.found import config_path, known_configs
from fairlead_agent.config.profile import AgentProfile, load_profile
from fairlead_agent.config.workload import config_line, load_workloads

__all__ = [
    "AgentEntry",
    "AgentProfile",
    "ConfigError",
    "FleetConfig",
    "config_line",
    "config_path",
    "known_configs",
    "load_fleet",
    "load_profile",
    "load_workloads",
]
