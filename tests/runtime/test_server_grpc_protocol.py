"""The protocol's definition is ours; its names and numbers are those of the public client."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from tritonclient.grpc import model_config_pb2, service_pb2

PROTO = Path(__file__).parents[2] / "runtime_cpp" / "server" / "rpc" / "inference.proto"


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    out = tmp_path_factory.mktemp("proto") / "inference.bin"
    subprocess.run(
        ["protoc", f"--proto_path={PROTO.parent}", f"--descriptor_set_out={out}", PROTO.name], check=True, timeout=60
    )
    files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    return pool.AddSerializedFile(files.file[0].SerializeToString()) or pool.FindFileByName("inference.proto")


def fields(message: Descriptor) -> dict[str, tuple]:
    def kind(field: FieldDescriptor) -> tuple:
        named = field.message_type or field.enum_type
        return field.number, field.type, field.is_repeated, named.full_name if named else None

    return {field.name: kind(field) for field in message.fields}


def messages(container, path: tuple[str, ...] = ()):
    for name, message in container.items():
        yield (*path, name), message
        yield from messages(message.nested_types_by_name, (*path, name))


def theirs(path: tuple[str, ...]) -> Descriptor:
    files = (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)
    (found,) = (file.message_types_by_name[path[0]] for file in files if path[0] in file.message_types_by_name)
    for name in path[1:]:
        found = found.nested_types_by_name[name]
    return found


def test_every_field_has_the_protocols_name_number_and_type(ours):
    compared = 0
    for path, message in messages(ours.message_types_by_name):
        assert fields(message).items() <= fields(theirs(path)).items(), path
        compared += len(message.fields)
    assert compared > 100


def test_every_method_takes_and_gives_the_protocols_messages(ours):
    def methods(file) -> dict[str, tuple]:
        service = file.services_by_name["GRPCInferenceService"]
        return {one.name: (one.input_type.full_name, one.output_type.full_name) for one in service.methods}

    assert methods(ours).items() <= methods(service_pb2.DESCRIPTOR).items()
    assert len(methods(ours)) >= 11


def test_data_types_have_the_protocols_numbers(ours):
    own = {value.name: value.number for value in ours.enum_types_by_name["DataType"].values}
    known = {value.name: value.number for value in model_config_pb2.DESCRIPTOR.enum_types_by_name["DataType"].values}
    assert own.items() <= known.items()
