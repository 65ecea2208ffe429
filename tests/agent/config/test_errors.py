"""A wrong file gives one line for each thing that is wrong: file:line, key, value, what is accepted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead_agent.config import ConfigError, load_fleet, load_profile, load_workloads
from fairlead_agent.config.document import MAX_DEPTH, MAX_FILE_BYTES

SIZE = "a size is a number with a unit such as '512 MiB'; the units are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"
NUMBER = "a number is accepted here, not true or false"
NAME = "a name is made of small letters, digits, - and _, at most 63, with a letter or digit at both ends"
TAG = "tag:yaml.org,2002:python/object"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file and returns its path."""

    def put(text: str) -> Path:
        path = tmp_path / "file.yaml"
        path.write_text(text)
        return path

    return put


def error_of(load: Callable[[str], object], path: Path) -> str:
    """The error's text without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    return str(caught.value).replace(f"{path.parent}/", "")


def test_unknown_keys_are_named_with_the_one_that_was_meant(write: Write) -> None:
    path = write("name: box\nbudget:\n  dramm: 1 GiB\npolcy: {}\nzzz: 1\n")
    assert error_of(load_profile, path).splitlines() == [
        "file.yaml:3: budget.dramm: no such key; did you mean 'dram'?",
        "file.yaml:4: polcy: no such key; did you mean 'policy'?",
        "file.yaml:5: zzz: no such key; the keys here are name, summary, labels, budget, simulated, power, policy",
    ]


def test_unknown_keys_in_lists_name_the_item(write: Write) -> None:
    path = write("name: box\nsimulated:\n  links:\n    - peer: a\n      bandwith: 1 Mbit/s\n      latency: 1 ms\n")
    assert error_of(load_profile, path).splitlines() == [
        "file.yaml:4: simulated.links.0.bandwidth: is missing",
        "file.yaml:5: simulated.links.0.bandwith: no such key; did you mean 'bandwidth'?",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: box\nbudget: {dram: 12 parsecs}", f"file.yaml:2: budget.dram: {SIZE} (got '12 parsecs')"),
        ("name: box\nbudget: {dram: -1}", "file.yaml:2: budget.dram: a size is between 0 and 1e+18 (got -1)"),
        (
            "name: box\nbudget: {dram: 1e999 B}",
            "file.yaml:2: budget.dram: a size is between 0 and 1e+18 (got '1e999 B')",
        ),
        ("name: box\nbudget: {dram: .nan}", "file.yaml:2: budget.dram: a size is between 0 and 1e+18 (got nan)"),
        ("name: box\nbudget: {dram: yes}", f"file.yaml:2: budget.dram: {SIZE} (got True)"),
        ("name: box\nbudget: {cores: yes}", f"file.yaml:2: budget.cores: {NUMBER} (got True)"),
        ("name: box\nbudget:\n  cores: 0", "file.yaml:3: budget.cores: input should be greater than 0 (got 0)"),
        ("name: box\nbudget:\n  - dram", "file.yaml:3: budget: keys with values are accepted here (got ['dram'])"),
        (
            "name: box\nsimulated:\n  gpus: 24 GiB",
            "file.yaml:3: simulated.gpus: a list is accepted here (got '24 GiB')",
        ),
        ("name: My Box", f"file.yaml:1: name: {NAME} (got 'My Box')"),
        ("name: box\nlabels: {tier: 3}", "file.yaml:2: labels.tier: input should be a valid string (got 3)"),
        (
            "name: box\npolicy:\n  reachable: sometimes",
            "file.yaml:3: policy.reachable: input should be 'direct' or 'mqtt-only' (got 'sometimes')",
        ),
        ("- name\n- box", "file.yaml:1: document: keys with values are accepted here (got ['name', 'box'])"),
        ("just words", "file.yaml:1: document: keys with values are accepted here (got 'just words')"),
        ("summary: nameless", "file.yaml:1: name: is missing"),
    ],
)
def test_a_wrong_value_is_shown_with_what_is_accepted(write: Write, text: str, said: str) -> None:
    assert error_of(load_profile, write(text)) == said


def test_long_values_are_cut_and_many_errors_counted(write: Write) -> None:
    assert len(error_of(load_profile, write(f"name: {'X' * 5000}"))) < 300
    lines = error_of(load_profile, write("name: box\n" + "".join(f"key{n}: 1\n" for n in range(50)))).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "file.yaml: and 30 more"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [1\n", "file.yaml:2: not YAML: expected ',' or ']', but got '<stream end>'"),
        ("name: box\n  budget: {}\n", "file.yaml:2: not YAML: mapping values are not allowed here"),
        ("name: box\nbudget: *nowhere\n", "file.yaml:2: not YAML: found undefined alias 'nowhere'"),
        (
            "name: box\nsummary: a\x07b\n",
            "file.yaml:2: not YAML: unacceptable character #x0007: " + "special characters are not allowed",
        ),
        (
            "name: box\nsummary: !<tag:yaml.org,2002:python/object> x\n",
            f"file.yaml:2: not YAML: could not determine a constructor for the tag '{TAG}'",
        ),
        ("name: box\nsummary: 2024-13-45\n", "file.yaml:1: a value does not fit its YAML tag: month must be in 1..12"),
        ("name: box\nname: other\n", "file.yaml:2: key 'name' stands in line 1 already"),
        ("a: &a [*a]\n", "file.yaml:1: refers to itself"),
        ("a: " + "[" * (MAX_DEPTH + 5), "file.yaml:1: not YAML: expected the node content, but found '<stream end>'"),
        ("a: " + "[" * 60 + "]" * 60, f"file.yaml:1: nested too deep; at most {MAX_DEPTH} levels are accepted"),
        ("a: " + "[" * 9000, f"file.yaml: nested too deep; at most {MAX_DEPTH} levels are accepted"),
    ],
)
def test_what_is_not_yaml_is_told_with_its_line(write: Write, text: str, said: str) -> None:
    assert error_of(load_profile, write(text)) == said


def test_a_few_lines_of_aliases_cannot_fill_the_memory(write: Write) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    assert "stands for more than 100000 values with its aliases written out" in error_of(load_workloads, write(bomb))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert error_of(load_profile, tmp_path / "missing.yaml") == "missing.yaml: No such file or directory"
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    assert error_of(load_profile, folder) == "folder.yaml: Is a directory"
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff\xfe\x00")
    assert error_of(load_profile, binary) == "binary.yaml: not UTF-8 text (byte 6)"
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    assert error_of(load_profile, huge) == "huge.yaml: larger than 1048576 bytes, which no configuration file is"
    with pytest.raises(ConfigError, match="/dev/zero: larger than"):
        load_profile("/dev/zero")
    with pytest.raises(ConfigError, match="null"):
        load_profile("/a\0b")


def test_documents_are_counted(write: Write) -> None:
    assert error_of(load_profile, write("name: a\n---\nname: b\n")) == "file.yaml: 2 documents; exactly one is accepted"
    assert error_of(load_profile, write("# nothing\n")) == "file.yaml: no documents; exactly one is accepted"
    assert error_of(load_workloads, write("---\n---\n")) == "file.yaml: holds no workload"


def test_several_workloads_in_one_file_and_the_line_of_the_wrong_one(write: Write) -> None:
    good = "name: one\nplugin: p\n---\n---\nname: two\nplugin: p\nreplicas: {}\n"
    assert [workload.name for workload in load_workloads(write(good.format(3)))] == ["one", "two"]
    assert error_of(load_workloads, write(good.format("many"))).startswith("file.yaml:7: replicas: ")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("placement: {ttl: 0.1 s}", "placement.ttl"),
        ("placement: {ttl: 2 h}", "placement.ttl"),
        ("placement: {guarantee: maybe}", "placement.guarantee"),
        ("objectives: {latency_p90: -3}", "objectives.latency_p90"),
        ("objectives: {weights: {latency: -1}}", "objectives.weights.latency"),
        ("objectives: {weights: {colour: 1}}", "objectives.weights.colour"),
        ("objectives: {throughput_min_per_s: .inf}", "objectives.throughput_min_per_s"),
        ("constraints: {nodes: edge}", "constraints.nodes"),
        ("replicas: yes", "replicas"),
        ("priority: 101", "priority"),
        ("version: fairlead/2", "version"),
    ],
)
def test_wrong_workloads(write: Write, text: str, key: str) -> None:
    said = error_of(load_workloads, write(f"name: a\nplugin: p\n{text}\n"))
    assert said.startswith(f"file.yaml:3: {key}: ")


def test_names_of_agents_differ(write: Write) -> None:
    path = write("agents:\n  - {name: a, profile: phone}\n  - {name: a, profile: phone}\n")
    assert "a stands twice; every agent has a name of its own" in error_of(load_fleet, path)


@pytest.mark.parametrize(
    ("load", "kind"), [(load_profile, "profile"), (load_fleet, "fleet"), (load_workloads, "workload")]
)
def test_an_unknown_shipped_name_lists_those_that_there_are(load: Callable[[str], object], kind: str) -> None:
    with pytest.raises(
        ConfigError, match=f"{kind} 'nothing-such': not found; there are .*; a file is given by its path"
    ):
        load("nothing-such")
    with pytest.raises(ConfigError, match="did you mean 'phone'"):
        load_profile("phome")
    with pytest.raises(ConfigError, match="not found"):
        load("..")
