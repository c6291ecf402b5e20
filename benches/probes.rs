//! What probing costs: 1,000 units with an http probe each second, against one nginx.
//!
//! `cargo bench --bench probes` prints the processor time that the supervisor takes per second, and how evenly the
//! questions arrive, as nginx logs them. `-- 200` as argument takes another number of units, `-- 200 tcp` asks by
//! connections alone.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads clocks, starts programs and prints"
)]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(120);
const ROUNDS: usize = 3;
const WINDOW: Duration = Duration::from_secs(10);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let count: usize = words.iter().find_map(|word| word.parse().ok()).unwrap_or(1_000);
    let kind = if words.iter().any(|word| word == "tcp") { "tcp" } else { "http" };
    let lab = Lab::new(count, kind);
    let mut up = lab.up();
    let supervisor = lab.wait_until_ready(&up, count);
    println!("{count} units with a {kind} probe each second, {ROUNDS} windows of {} s\n", WINDOW.as_secs());
    // The second probes are still spread by the first; after that each unit keeps its own beat.
    std::thread::sleep(Duration::from_secs(3));
    for _ in 0..ROUNDS {
        let (before, asked) = (cpu_ticks(supervisor), lab.arrivals().len());
        let began = Instant::now();
        std::thread::sleep(WINDOW); // the figures are rates over this time
        let took = began.elapsed().as_secs_f64();
        let ticks = cpu_ticks(supervisor) - before;
        let share = ticks as f64 / rustix::param::clock_ticks_per_second() as f64 / took * 100.0;
        let arrivals = lab.arrivals();
        let rate = (arrivals.len() - asked) as f64 / took;
        println!(
            "supervisor {share:>6.1} % of a core, {rate:>7.1} questions per s, {} descriptors",
            open_files(supervisor)
        );
        for slice in [10, 100] {
            spread(&arrivals[asked..], slice);
        }
    }
    kill_process(Pid::from_child(&up), Signal::TERM).expect("SIGTERM");
    up.wait().expect("its end");
    drop(lab);
}

/// Questions in slices of time: the fullest, and what an even spread would give. Slices of 10 ms also show how late
/// a busy machine wakes us, those of 100 ms hardly.
fn spread(arrivals: &[u64], slice: u64) {
    let (Some(first), Some(last)) = (arrivals.iter().min(), arrivals.iter().max()) else { return };
    let slices = usize::try_from((last - first) / slice + 1).expect("a number of slices");
    let mut filled = vec![0_usize; slices];
    for at in arrivals {
        filled[usize::try_from((at - first) / slice).expect("a slice")] += 1;
    }
    filled.sort_unstable();
    let at = |share: f64| filled[((slices - 1) as f64 * share) as usize];
    println!(
        "    in {slice} ms: even {:.1}, median {}, p99 {}, most {}",
        arrivals.len() as f64 / slices as f64,
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

struct Lab {
    dir: PathBuf,
    server: Child,
}

impl Lab {
    fn new(count: usize, kind: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("mcsup-probing-{}", std::process::id()));
        let units = dir.join("home/units");
        fs::create_dir_all(&units).expect("making the lab");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
        for unit in 0..count {
            let question = match kind {
                "tcp" => format!("tcp: {port}"),
                _ => format!("http: 'http://127.0.0.1:{port}/'"),
            };
            let text = format!("command: [sleep, infinity]\nhealth: {{{question}, interval: 1s}}\n");
            fs::write(units.join(format!("svc-{unit:04}.yaml")), text).expect("writing a unit");
        }
        let at = dir.display();
        let config = format!(
            "daemon off; pid {at}/nginx.pid; error_log {at}/error.log; worker_processes 1;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ log_format at '$msec'; access_log {at}/access.log at;\n\
               client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;\n\
               uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
               server {{ listen 127.0.0.1:{port} backlog=4096; return 200 ok; }} }}\n"
        );
        fs::write(dir.join("nginx.conf"), config).expect("writing nginx.conf");
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let server = Command::new("nginx").env("PATH", path).arg("-c").arg(dir.join("nginx.conf")).spawn();
        let server = server.expect("nginx");
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < LIMIT, "nginx does not listen");
        }
        Self { dir, server }
    }

    fn mcsup(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcsup"));
        command.args(arguments).env("MCSUP_HOME", self.dir.join("home")).stdin(Stdio::null());
        command
    }

    fn up(&self) -> Child {
        self.mcsup(&["up"]).stdout(Stdio::null()).spawn().expect("mcsup up")
    }

    /// The supervisor's pid, once every unit is ready.
    fn wait_until_ready(&self, keeper: &Child, count: usize) -> u32 {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < LIMIT, "not every unit is ready");
            std::thread::sleep(Duration::from_millis(200)); // between looks
            let Ok(output) = self.mcsup(&["status", "--json"]).stderr(Stdio::null()).output() else {
                continue;
            };
            let status = String::from_utf8_lossy(&output.stdout);
            let ready = status.matches("\"state\":\"ready\"").count()
                + status.matches("\"state\": \"ready\"").count();
            if ready == count {
                println!("all ready after {:.1} s", began.elapsed().as_secs_f64());
                return supervisor_of(keeper.id());
            }
        }
    }

    /// When nginx answered, in milliseconds.
    fn arrivals(&self) -> Vec<u64> {
        let log = fs::read_to_string(self.dir.join("access.log")).expect("nginx's log");
        log.lines().filter_map(|line| Some((line.parse::<f64>().ok()? * 1e3) as u64)).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.server), Signal::TERM).expect("ending nginx");
        self.server.wait().expect("its end");
        fs::remove_dir_all(&self.dir).expect("removing the lab");
    }
}

fn supervisor_of(keeper: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap_or_default();
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_ours = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let Some((head, tail)) = stat.rsplit_once(')') else { return false };
        let parent = tail.split_whitespace().nth(1).and_then(|word| word.parse::<u32>().ok());
        parent == Some(keeper) && head.contains("mcsup")
    };
    pids.into_iter().find(is_ours).unwrap_or_else(|| panic!("no supervisor among {children}"))
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a supervisor that lives");
    let (_, tail) = stat.rsplit_once(')').expect("a stat line");
    let field =
        |at: usize| tail.split_whitespace().nth(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    // utime and stime.
    field(11) + field(12)
}

fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}
