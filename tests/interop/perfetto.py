#!/usr/bin/env python3
"""Checks an exported Perfetto file against Perfetto's own schema.

    perfetto.py FILE [--handlings N]

The package `perfetto` from PyPI carries the compiled schema of its traces; it is installed into .peers/perfetto.
Its trace_processor would be fetched from elsewhere, so it is not used. Exits with 1 when anything is wrong.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import venv

VERSION = "perfetto==0.59.1"
HOME = pathlib.Path(__file__).resolve().parents[2] / ".peers" / "perfetto"


def enter_venv():
    python = HOME / "bin" / "python"
    if pathlib.Path(sys.prefix) == HOME:
        return
    if not (HOME / "ready").exists():
        venv.create(HOME, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", VERSION, "protobuf"], check=True)
        (HOME / "ready").touch()
    os.execv(python, [str(python), *sys.argv])


def unknown_fields(message, path):
    """A wrong field number shows as a field that the schema does not have, or under another name."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    for field in UnknownFieldSet(message):
        yield f"{path}: field {field.field_number} is not in the schema"
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        try:
            items = list(value)
        except TypeError:
            items = [value]
        for item in items:
            yield from unknown_fields(item, f"{path}.{descriptor.name}")


def check(path, handlings):
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

    trace = Trace()
    trace.ParseFromString(pathlib.Path(path).read_bytes())
    problems = list(unknown_fields(trace, "trace"))[:10]
    tracks, counters, flows, ends = {}, set(), set(), set()
    opened, events = {}, 0
    slices = []
    for packet in trace.packet:
        if packet.HasField("track_descriptor"):
            descriptor = packet.track_descriptor
            tracks[descriptor.uuid] = descriptor.name
            if descriptor.HasField("counter"):
                counters.add(descriptor.uuid)
            if descriptor.parent_uuid and descriptor.parent_uuid not in tracks:
                problems.append(f"track {descriptor.name} has no parent")
        if not packet.HasField("track_event"):
            continue
        event = packet.track_event
        events += 1
        if not packet.trusted_packet_sequence_id:
            problems.append("a packet without a sequence")
        if event.type == TrackEvent.TYPE_COUNTER and event.track_uuid not in counters:
            problems.append(f"a count on track {event.track_uuid}, which is no counter")
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            slices.append((packet.timestamp, 1, event.track_uuid, event.name))
        if event.type == TrackEvent.TYPE_SLICE_END:
            opened[event.track_uuid] = opened.get(event.track_uuid, 0) + 1
        flows.update(event.flow_ids)
        ends.update(event.terminating_flow_ids)
    begun = {}
    for _, _, track, name in slices:
        begun[track] = begun.get(track, 0) + 1
        if not name:
            problems.append("a slice without a name")
    if begun != opened:
        problems.append("slices begin and do not end")
    names = set(tracks.values())
    for lane in ("tree", "downloader", "peer-manager", "store"):
        if lane not in names:
            problems.append(f"no track for {lane}")
    if not flows & ends:
        problems.append("no arrow arrives")
    if len(ends) < handlings:
        problems.append(f"{len(ends)} handlings, and {handlings} are expected")
    print(f"{len(tracks)} tracks, {events} events, {len(slices)} slices, {len(flows & ends)} arrows")
    for problem in problems[:20]:
        print(f"wrong: {problem}", file=sys.stderr)
    return not problems


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--handlings", type=int, default=1)
    arguments = parser.parse_args()
    enter_venv()
    # this file has the name of the package
    sys.path.pop(0)
    sys.exit(0 if check(arguments.file, arguments.handlings) else 1)


if __name__ == "__main__":
    main()
