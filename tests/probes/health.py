"""grpc.health.v1 by the real gRPC and the real protobuf, with its messages described here."""
import sys
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
try:
    from google.protobuf.message_factory import GetMessageClass
except ImportError:
    from google.protobuf.message_factory import MessageFactory
    GetMessageClass = MessageFactory().GetPrototype

port, key, certificate = (sys.argv[1:] + ["", ""])[:3]
text = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
number = descriptor_pb2.FieldDescriptorProto.TYPE_INT32
file = descriptor_pb2.FileDescriptorProto(name="health.proto", package="grpc.health.v1", syntax="proto3")
for name, field, kind in [("HealthCheckRequest", "service", text), ("HealthCheckResponse", "status", number)]:
    file.message_type.add(name=name).field.add(name=field, number=1, type=kind, label=1)
pool = descriptor_pool.DescriptorPool()
pool.Add(file)
Request = GetMessageClass(pool.FindMessageTypeByName("grpc.health.v1.HealthCheckRequest"))
Response = GetMessageClass(pool.FindMessageTypeByName("grpc.health.v1.HealthCheckResponse"))
HEALTH = {"": 1, "well": 1, "ill": 2, "unknown": 0, "x" * 200: 1}


def check(request, context):
    if request.service == "broken":
        context.abort(grpc.StatusCode.INTERNAL, "it broke")
    if request.service not in HEALTH:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return Response(status=HEALTH[request.service])


handlers = {"Check": grpc.unary_unary_rpc_method_handler(check, Request.FromString, Response.SerializeToString)}
server = grpc.server(futures.ThreadPoolExecutor(2))
if "--bare" not in sys.argv:
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),))
if key and key != "--bare":
    pair = (open(key, "rb").read(), open(certificate, "rb").read())
    server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([pair]))
else:
    server.add_insecure_port(f"127.0.0.1:{port}")
server.start()
server.wait_for_termination()
