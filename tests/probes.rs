//! Every kind of question, asked of real servers: redis-server, PostgreSQL, nginx, Python's own http and gRPC
//! servers; and of servers as bad as they come, which are made here.

#[path = "probes/world.rs"]
mod world;

#[path = "probes/http.rs"]
mod http;
#[path = "probes/redis.rs"]
mod redis;
#[path = "probes/postgres.rs"]
mod postgres;
#[path = "probes/grpc.rs"]
mod grpc;
#[path = "probes/files.rs"]
mod files;
#[path = "probes/beat.rs"]
mod beat;
#[path = "probes/hostile.rs"]
mod hostile;
