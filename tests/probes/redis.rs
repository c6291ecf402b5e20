use std::time::Duration;

use mcsup::engine::event::Verdict;
use mcsup::probe::question::{Question, RedisQuestion, Secret};
use mcsup::unit::spec::probe::{RedisRole, Target};
use rustix::process::Signal;

use crate::world::{
    Dir, Program, ask, ask_within, command, eventually, fails, free_port, listens, passes, run, tcp,
};

fn start(dir: &Dir, name: &str, port: u16, more: &[&str]) -> Program {
    let data = dir.0.join(name);
    std::fs::create_dir_all(&data).expect("a data directory");
    let port = port.to_string();
    let mut redis = command("redis-server");
    redis.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(&data).args(more);
    Program::start(&mut redis, &dir.0.join(format!("{name}.log")))
}

fn question(target: Target) -> RedisQuestion {
    RedisQuestion { target, username: None, password: None, role: None, max_lag: None }
}

fn redis(question: RedisQuestion) -> Verdict {
    ask(Question::Redis(Box::new(question)))
}

fn secret(text: &str) -> Option<Secret> {
    Some(Secret(text.as_bytes().to_vec()))
}

#[test]
fn pong_passes_and_a_stopped_server_costs_one_timeout() {
    let (dir, port) = (Dir::new("redis"), free_port());
    let socket = dir.path("r.sock");
    let server = start(&dir, "a", port, &["--unixsocket", &socket]);
    listens(port);
    passes(&redis(question(tcp(port))), "PONG in ");
    passes(&redis(question(Target::Unix(socket.as_str().into()))), "PONG in ");
    server.signal(Signal::STOP);
    let limit = Duration::from_millis(200);
    let verdict = ask_within(limit, Question::Redis(Box::new(question(tcp(port)))));
    assert_eq!(verdict, Verdict::Fail("no answer within 200ms".into()));
    server.signal(Signal::CONT);
    passes(&redis(question(tcp(port))), "PONG in ");
    drop(server);
    fails(&redis(question(tcp(port))), "connection refused");
}

#[test]
fn passwords_are_told_and_their_lack_has_words() {
    let (dir, port) = (Dir::new("auth"), free_port());
    let _server = start(&dir, "a", port, &["--requirepass", "s3cret"]);
    listens(port);
    fails(&redis(question(tcp(port))), "it wants a password (NOAUTH)");
    let with = |password: &str| RedisQuestion { password: secret(password), ..question(tcp(port)) };
    fails(&redis(with("wrong")), "the password is wrong (WRONGPASS)");
    passes(&redis(with("s3cret")), "PONG in ");
    passes(&redis(RedisQuestion { username: secret("default"), ..with("s3cret") }), "PONG in ");
    let nobody = RedisQuestion { username: secret("nobody"), ..with("s3cret") };
    fails(&redis(nobody), "the password is wrong (WRONGPASS)");
}

#[test]
fn a_master_and_its_replica_are_told_apart() {
    let (dir, first, second) = (Dir::new("replica"), free_port(), free_port());
    let master = start(&dir, "master", first, &["--repl-ping-replica-period", "1"]);
    listens(first);
    let of = format!("127.0.0.1 {first}");
    let _replica = start(&dir, "replica", second, &["--replicaof", &of, "--repl-diskless-sync-delay", "0"]);
    listens(second);
    let wants = |port, role| RedisQuestion { role: Some(role), ..question(tcp(port)) };
    passes(&redis(wants(first, RedisRole::Master)), ", master");
    fails(&redis(wants(first, RedisRole::Replica)), "it is a master, wanted a replica");
    fails(&redis(wants(second, RedisRole::Master)), "it is a replica, wanted a master");
    let fresh = RedisQuestion { max_lag: Some(Duration::from_secs(30)), ..wants(second, RedisRole::Replica) };
    eventually("the replica follows", || matches!(redis(fresh.clone()), Verdict::Pass(_)));
    passes(&redis(fresh.clone()), " behind");
    drop(master);
    eventually("the loss is seen", || matches!(redis(fresh.clone()), Verdict::Fail(_)));
    fails(&redis(fresh), "it has lost its master");
}

#[test]
fn a_server_that_loads_its_data_is_not_ready_yet() {
    let (dir, port) = (Dir::new("loading"), free_port());
    let server = start(&dir, "a", port, &["--save", "3600 1"]);
    listens(port);
    let text = port.to_string();
    let cli = |words: &[&str]| run(command("redis-cli").args(["-p", &text]).args(words));
    cli(&["eval", "for i = 1, 20000 do redis.call('set', i, i) end", "0"]);
    cli(&["save"]);
    drop(server);
    // Each key takes it so many microseconds: the words have to be seen before it is done.
    let slow = ["--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024"];
    let _server = start(&dir, "a", port, &slow);
    listens(port);
    fails(&redis(question(tcp(port))), "it is still loading its data (LOADING)");
}
