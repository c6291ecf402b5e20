use std::os::unix::process::CommandExt as _;
use std::process::Command;

use mcsup::engine::event::Verdict;
use mcsup::probe::question::{PostgresQuestion, Question, Secret};
use mcsup::unit::spec::probe::Target;
use rustix::process::Signal;

use crate::world::{Dir, Program, ask, command, eventually, fails, free_port, passes, run, tcp};

struct Postgres {
    dir: Dir,
    port: u16,
    server: Program,
}

/// The newest that Debian installed, or what is on the PATH.
fn program(name: &str) -> Command {
    let mut found: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin").join(name)).collect())
        .unwrap_or_default();
    found.retain(|path: &std::path::PathBuf| path.exists());
    found.sort();
    let mut command =
        command(&found.pop().map_or_else(|| name.to_owned(), |path| path.display().to_string()));
    // It refuses to run as root.
    if rustix::process::geteuid().is_root() {
        command.uid(id("-u")).gid(id("-g"));
    }
    command
}

fn id(which: &str) -> u32 {
    run(command("id").args([which, "postgres"])).trim().parse().expect("a number")
}

impl Postgres {
    fn start(name: &str) -> Self {
        let dir = Dir::new(name);
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&dir.0, Some(id("-u")), Some(id("-g"))).expect("chown");
        }
        let data = dir.path("data");
        let password = dir.write("password", "s3cret\n");
        run(program("initdb").current_dir("/").args([
            "-D",
            &data,
            "-U",
            "postgres",
            "--no-sync",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--pwfile",
            &password,
        ]));
        let port = free_port();
        let at = dir.path("");
        let mut server = program("postgres");
        server.current_dir("/").args([
            "-D",
            &data,
            "-p",
            &port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
            "-k",
            &at,
        ]);
        let server = Program::start(&mut server, &dir.0.join("log"));
        let postgres = Self { dir, port, server };
        eventually("it takes connections", || matches!(pg(postgres.question()), Verdict::Pass(_)));
        postgres
    }

    fn question(&self) -> PostgresQuestion {
        PostgresQuestion {
            target: tcp(self.port),
            user: Secret(b"postgres".to_vec()),
            password: None,
            database: None,
            query: None,
            expect: None,
        }
    }

    fn query(&self, query: &str, expect: Option<&str>) -> Verdict {
        let socket = self.dir.path(&format!(".s.PGSQL.{}", self.port));
        pg(PostgresQuestion {
            target: Target::Unix(socket.into()),
            query: Some(query.into()),
            expect: expect.map(Into::into),
            ..self.question()
        })
    }
}

fn pg(question: PostgresQuestion) -> Verdict {
    ask(Question::Postgres(Box::new(question)))
}

#[test]
fn a_server_is_judged_as_pg_isready_judges_and_by_a_query_if_there_is_one() {
    let postgres = Postgres::start("postgres");
    passes(&pg(postgres.question()), "accepting connections in ");
    let nobody = PostgresQuestion { user: Secret(b"nobody".to_vec()), ..postgres.question() };
    passes(&pg(nobody), "accepting connections in ");

    passes(&postgres.query("select 6 * 7", None), "1 row in ");
    passes(&postgres.query("select 6 * 7", Some("42")), "\"42\" in ");
    fails(&postgres.query("select 6 * 7", Some("43")), "the query gave \"42\", wanted \"43\"");
    fails(&postgres.query("select null", Some("1")), "the query gave NULL, wanted \"1\"");
    fails(&postgres.query("select 1 where false", Some("1")), "the query gave no row");
    fails(&postgres.query("select * from nothing", None), "relation \"nothing\" does not exist");
    fails(&postgres.query("select repeat('x', 3000000)", None), "closed early");

    let with = |password: Option<&str>| {
        let password = password.map(|text| Secret(text.as_bytes().to_vec()));
        pg(PostgresQuestion { password, query: Some("select 1".into()), ..postgres.question() })
    };
    passes(&with(Some("s3cret")), "1 row in ");
    fails(&with(Some("wrong")), "password authentication failed");
    fails(&with(None), "it wants a password");
    // Nobody stays connected behind the back of a probe.
    let count =
        "select count(*) from pg_stat_activity where application_name = 'mcsup' and pid <> pg_backend_pid()";
    eventually("no probe is left", || matches!(postgres.query(count, Some("0")), Verdict::Pass(_)));
}

#[test]
fn a_server_that_is_going_down_is_not_ready() {
    let postgres = Postgres::start("shutdown");
    let socket = postgres.dir.path("");
    let port = postgres.port.to_string();
    let arguments = ["-h", &socket, "-p", &port, "-U", "postgres", "-c", "select pg_sleep(600)"];
    let _client = Program::start(command("psql").args(arguments), &postgres.dir.0.join("client.log"));
    let sleeps = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'";
    eventually("a client is there", || matches!(postgres.query(sleeps, Some("1")), Verdict::Pass(_)));
    // It waits for the client, and takes nobody else meanwhile.
    postgres.server.signal(Signal::TERM);
    eventually("it refuses", || matches!(pg(postgres.question()), Verdict::Fail(_)));
    fails(&pg(postgres.question()), "not yet: the database system is shutting down");
    fails(&postgres.query("select 1", None), "not yet: the database system is shutting down");
}
