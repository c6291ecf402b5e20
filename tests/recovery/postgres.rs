//! PostgreSQL, broken in eight ways, and one with six others that need it.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use mcsup::incident::cause::Rule;
use rustix::process::Signal;

use crate::instance::{eventually, signal};
use crate::memory::MemoryGroup;
use crate::namespace::inside;
use crate::patient::{BY_EXIT, HEALTH, Patient, become_user, broken, by_probes, command, own, run};
use crate::place::free_ports;
use crate::redis::assert_slow_start;

const PASSWORD: &str = "s3cret";
/// Tried again for ever.
const PERSISTENT: &str = "restart: {backoff: {initial: 500ms, max: 500ms, jitter: 0}}\n\
                          start_timeout: 90s\n\
                          recover: {rungs: [restart], settle: 2s}\n";

/// The newest that Debian installed, or what is on the PATH.
fn program(name: &str) -> String {
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = entries.map(|entry| entry.path().join("bin").join(name)).filter(|path| path.exists()).max();
    found.map_or_else(|| name.to_owned(), |path| path.display().to_string())
}

/// Runs as whom the server runs.
fn as_postgres(program: &str) -> Command {
    let mut words = become_user("postgres");
    words.push(program.to_owned());
    let mut all = command(&words[0]);
    all.args(&words[1..]);
    all
}

/// A cluster to copy: making one takes longer than the rest of a test.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres-cluster-1");
        if kept.exists() {
            return kept;
        }
        let made = std::env::temp_dir().join(format!("mcsup-{}-cluster", std::process::id()));
        fs::create_dir_all(&made).expect("a directory");
        own(&made, "postgres");
        let password = made.with_extension("password");
        fs::write(&password, PASSWORD).expect("a file");
        let words = ["-U", "postgres", "--no-sync", "--wal-segsize=1", "--locale=C", "--encoding=UTF8"];
        let local = ["--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile"];
        let mut initdb = as_postgres(&program("initdb"));
        run(initdb.args(words).args(local).arg(&password).arg("-D").arg(made.join("data")));
        // Whole or not at all, whoever else makes one at the same time.
        let copied = kept.with_extension(std::process::id().to_string());
        run(command("cp").arg("-a").arg(made.join("data")).arg(&copied));
        let is_first = fs::rename(&copied, &kept).is_ok();
        for rest in [Some(&made), (!is_first).then_some(&copied)].into_iter().flatten() {
            fs::remove_dir_all(rest).expect("no rest");
        }
        fs::remove_file(&password).expect("no rest");
        kept
    })
}

/// `more` are further keys of the unit.
fn postgres(test: &str, more: &str) -> Patient {
    let [port] = free_ports();
    let patient = Patient::new(&format!("postgres-{test}"), "postgres", port);
    let data = patient.data("postgres");
    run(command("cp").arg("-a").arg(template()).arg(data.join("cluster")));
    write_unit(&patient, more);
    patient
}

fn write_unit(patient: &Patient, more: &str) {
    let port = patient.port.to_string();
    let data = patient.path("data").display().to_string();
    let server = patient.command(
        "postgres",
        &[
            &program("postgres"),
            "-D",
            &format!("{data}/cluster"),
            "-p",
            &port,
            "-k",
            &data,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
            "-c",
            "shared_buffers=8MB",
        ],
    );
    let question = format!("postgres: {}", question(patient));
    let health = HEALTH.replacen('{', &format!("{{{question}, "), 1);
    let stop = "stop: {signal: SIGINT, grace: 2s}\n";
    let unit = format!("{server}health: {health}\n{stop}{more}");
    patient.instance.write("postgres", &unit);
}

fn question(patient: &Patient) -> String {
    format!("{{port: {}, password: {PASSWORD}, query: select 1}}", patient.port)
}

/// By the local socket, where nobody is asked for a password.
fn psql(patient: &Patient) -> Command {
    let mut psql = command(&program("psql"));
    let port = patient.port.to_string();
    psql.args(["-h", &patient.path("data").display().to_string(), "-p", &port, "-U", "postgres", "-qAt"]);
    psql
}

/// The statements of a file, which end badly.
fn psql_fails(patient: &Patient, script: &str) {
    let file = patient.path("script.sql");
    fs::write(&file, script).expect("a script");
    let output = psql(patient).args(["-v", "ON_ERROR_STOP=1", "-f"]).arg(&file).output().expect("psql");
    assert!(!output.status.success(), "it went well: {output:?}");
}

fn answers(patient: &Patient) -> bool {
    run(psql(patient).args(["-c", "select 6 * 7"])) == "42"
}

#[test]
fn a_postgres_that_is_killed_is_back_and_the_kill_is_the_cause() {
    let mut patient = postgres("kill", PERSISTENT);
    patient.boot();
    patient.assert_back_after_a_kill();
    assert!(answers(&patient));
    patient.shut_down();
}

#[test]
fn a_postgres_that_is_stopped_in_its_tracks_is_found_out_and_restarted() {
    let mut patient = postgres("stopped", PERSISTENT);
    patient.boot();
    patient.assert_back_after_a_halt();
    patient.shut_down();
}

#[test]
fn a_postgres_whose_port_a_stranger_took_is_tried_until_the_stranger_leaves() {
    let mut patient = postgres("port", PERSISTENT);
    patient.boot();
    patient.instance.done(&["stop", "postgres"]);
    let stranger = Stranger::listening(&patient);
    let fault = broken(|| drop(patient.instance.run(&["start", "postgres", "--no-wait"])));
    let found = patient.assert_detected(fault, BY_EXIT, Rule::PortInUse);
    let sentence = format!("127.0.0.1:{} is taken by redis-server (pid {})", patient.port, stranger.0.id());
    assert_eq!(found.causes[0].sentence, sentence);
    patient.assert_seen_before("postgres#3", Rule::PortInUse);
    patient.assert_why(&sentence);
    drop(stranger);
    patient.wait_for_run(1);
    patient.assert_healed();
    patient.shut_down();
}

/// A server of somebody else.
#[derive(Debug)]
struct Stranger(Child);

impl Stranger {
    fn listening(patient: &Patient) -> Self {
        let port = patient.port.to_string();
        let mut other = command("redis-server");
        other.args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]).stdout(Stdio::null());
        let stranger = Self(other.spawn().expect("a stranger; tests/run installs it"));
        let answers = || TcpStream::connect(("127.0.0.1", patient.port)).ok();
        assert!(eventually(answers).is_some(), "the stranger has the port");
        stranger
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_postgres_that_may_not_use_its_data_is_back_when_it_may() {
    let mut patient = postgres("data", PERSISTENT);
    patient.boot();
    let cluster = patient.path("data/cluster");
    let allow = |mode: u32| {
        fs::set_permissions(&cluster, fs::Permissions::from_mode(mode)).expect("permissions");
    };
    let fault = broken(|| allow(0o000));
    patient.assert_detected(fault, by_probes(), Rule::Permission);
    patient.assert_seen_before("postgres#3", Rule::Permission);
    patient.assert_one_incident();
    allow(0o700);
    patient.wait_for_run(2);
    patient.assert_healed();
    assert!(answers(&patient));
    patient.shut_down();
}

#[test]
fn a_postgres_on_a_full_disk_is_tried_until_there_is_room() {
    let mut patient = postgres("disk", PERSISTENT);
    let kept = template().display().to_string();
    let data = patient.path("data").display().to_string();
    let own = if rustix::process::geteuid().is_root() { "chown postgres" } else { ":" };
    patient.boot_on_small_disk(&format!(
        "mount -t tmpfs -o size=64m,mode=755 tmpfs '{data}'; {own} '{data}'; cp -a '{kept}' '{data}/cluster'"
    ));
    let ballast = inside(&patient.instance, "data/ballast");
    let data = inside(&patient.instance, "data");
    // The disk fills up while somebody writes: what has no room for its log ends itself.
    let script = format!("\\! head -c 100M /dev/zero > {} 2>/dev/null\n{WRITES}", ballast.display());
    let file = patient.path("script.sql");
    fs::write(&file, script).expect("a script");
    let fault = broken(|| {
        let port = patient.port.to_string();
        let mut psql = command(&program("psql"));
        psql.arg("-h").arg(&data).args(["-p", &port, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-f"]);
        let output = psql.arg(&file).output().expect("psql");
        assert!(!output.status.success(), "it went well: {output:?}");
    });
    patient.assert_detected(fault, BY_EXIT, Rule::DiskFull);
    patient.assert_seen_before("postgres#3", Rule::DiskFull);
    patient.assert_one_incident();
    fs::remove_file(&ballast).expect("room");
    patient.wait_for_run(2);
    patient.assert_healed();
    patient.shut_down();
}

/// More than the log has room for.
const WRITES: &str = "do $$ begin for i in 1..64 loop \
                      perform pg_logical_emit_message(false, 'x', repeat('x', 900000)); \
                      end loop; end $$;\n";

#[test]
fn a_postgres_whose_password_somebody_changed_is_given_up_after_a_restart_did_not_help() {
    let more = "restart: {backoff: {initial: 500ms, max: 500ms, jitter: 0}}\n\
                recover: {rungs: [restart, stop], settle: 2s}\n\
                start_timeout: 3s\n";
    let mut patient = postgres("password", more);
    patient.boot();
    let fault = broken(|| drop(run(psql(&patient).args(["-c", "alter role postgres password 'other'"]))));
    patient.assert_detected(fault, by_probes(), Rule::Authentication);
    patient.assert_seen_before("postgres#2", Rule::Authentication);
    let look = patient.instance.wait("given up", |look| look.is("postgres", "failed"));
    assert_eq!(look.unit("postgres")["restarts"], 1, "{look:?}");
    patient.assert_why("password");
    let both = eventually(|| {
        let (evidence, _) = patient.incident();
        let rungs: Vec<&str> = evidence.rungs.iter().map(|rung| rung.rung.as_str()).collect();
        (rungs == ["a restart", "a stop for good"]).then_some(())
    });
    assert!(both.is_some(), "{:#?}", patient.incident());
    patient.assert_one_incident();
    patient.shut_down();
}

#[test]
fn a_postgres_that_the_kernel_killed_for_want_of_memory_is_back_and_the_want_is_the_cause() {
    // As its documentation advises: what it starts is not protected, or doomed, as it is itself.
    let more = "environment: {PG_OOM_ADJUST_FILE: /proc/self/oom_score_adj}\n";
    let mut patient = postgres("memory", &format!("{PERSISTENT}{more}"));
    patient.boot();
    let group = MemoryGroup::new("postgres");
    let pid = patient.pid();
    group.add(pid);
    group.limit(4 * 1024 * 1024);
    // The kernel takes the server itself, and not the session that is greedy.
    fs::write(format!("/proc/{pid}/oom_score_adj"), "1000").expect("a score");
    let fault = broken(|| psql_fails(&patient, GREEDY));
    let found = patient.assert_detected(fault, BY_EXIT, Rule::OutOfMemory);
    assert!(found.exit.is_some_and(|exit| exit.signal == Some(9) && !exit.is_ours), "{:?}", found.exit);
    patient.wait_for_run(1);
    patient.assert_seen_before("postgres#2", Rule::OutOfMemory);
    patient.assert_healed();
    patient.shut_down();
}

#[test]
fn a_postgres_whose_session_the_kernel_killed_for_want_of_memory_names_the_want() {
    // As its documentation advises: the kernel takes the session that is greedy, and not the server.
    let more = "environment: {PG_OOM_ADJUST_FILE: /proc/self/oom_score_adj, PG_OOM_ADJUST_VALUE: '1000'}\n";
    let mut patient = postgres("session", &format!("{PERSISTENT}{more}"));
    let settings = patient.path("data/cluster/postgresql.conf");
    let text = fs::read_to_string(&settings).expect("settings");
    // It ends with its session: nothing depends on how soon it would have recovered by itself.
    fs::write(&settings, format!("{text}restart_after_crash = off\n")).expect("settings");
    patient.boot();
    let group = MemoryGroup::new("session");
    group.add(patient.pid());
    group.limit(12 * 1024 * 1024);
    let fault = broken(|| psql_fails(&patient, GREEDY));
    let found = patient.assert_detected(fault, BY_EXIT, Rule::OutOfMemory);
    assert!(found.exit.is_some_and(|exit| exit.code.is_some_and(|code| code != 0)), "{:?}", found.exit);
    assert_eq!(found.causes[0].sentence, "the kernel killed a child of it for want of memory");
    patient.wait_for_run(1);
    patient.assert_seen_before("postgres#2", Rule::OutOfMemory);
    patient.assert_healed();
    patient.shut_down();
}

/// Sorts more than there is memory.
const GREEDY: &str = "set work_mem = '1GB';\nselect count(*) from \
                      (select repeat('x', 1000) || g as s from generate_series(1, 1000000) g order by 1) q;\n";

#[test]
fn a_postgres_that_starts_slowly_is_waited_for() {
    let mut patient = postgres("slow", PERSISTENT);
    patient.boot();
    assert_slow_start(&patient);
    patient.shut_down();
}

#[test]
fn a_postgres_that_is_down_with_six_that_need_it_is_one_incident_that_affects_six() {
    let mut patient = postgres("six", PERSISTENT);
    let names = ["crm", "mail", "news", "shop", "stats", "wiki"];
    for name in names {
        let health = HEALTH.replacen('{', &format!("{{postgres: {}, ", question(&patient)), 1);
        let unit =
            format!("command: [sleep, '1000']\ndepends_on: [postgres]\nhealth: {health}\n{PERSISTENT}");
        patient.instance.write(name, &unit);
    }
    patient.boot();
    let pid = patient.pid();
    let fault = broken(|| signal(pid, Signal::STOP));
    patient.assert_detected(fault, by_probes(), Rule::Stopped);
    patient.instance.wait("all are back", |look| {
        look.unit("postgres")["restarts"] == 1
            && look.is("postgres", "ready")
            && names.iter().all(|name| look.is(name, "ready"))
    });
    let healed = patient.assert_healed();
    let mut affected = healed.affected.clone();
    affected.sort_unstable();
    assert_eq!(affected, names, "{healed:#?}");
    patient.shut_down();
}
