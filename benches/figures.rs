//! The figures of mcsup against the floor of this machine, in one run.
//!
//! `cargo bench --bench figures` builds the workload with `cc`, then alternates floor and mcsup for five
//! rounds and prints medians and ratios. `-- 200` as argument takes another number of services than 1,000;
//! `-- boot logs` takes these figures only, of `boot`, `chain`, `steady`, `change`, `check` and `logs`.
//!
//! The floor is a C program that vforks and execs (boot, chain, restart, stop), or `cat` (logs).
//! All starts are timed inside the started program (see `beacon.c`). Write to a file system in memory by
//! setting TMPDIR=/dev/shm, as for the logs of a machine whose disk is not the question.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads clocks, starts programs and prints"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 5;
const CHAIN: usize = 200;
const KILLS: usize = 200;
const LOG_MEBIBYTES: u64 = 256;
const LIMIT: Duration = Duration::from_secs(60);

fn main() {
    let count = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_000);
    let lab = Lab::new();
    println!("{count} services, medians of {ROUNDS} rounds\n");
    if is_wanted("boot") {
        boots(&lab, "boot", count, false);
    }
    if is_wanted("chain") {
        boots(&lab, "chain", CHAIN.min(count), true);
    }
    if is_wanted("steady") {
        steady(&lab, count);
    }
    if is_wanted("change") {
        change(&lab, count);
    }
    if is_wanted("check") {
        check(&lab, count);
    }
    if is_wanted("logs") {
        logs(&lab, 65_500);
        logs(&lab, 100);
    }
    fs::remove_dir_all(&lab.dir).expect("removing the lab");
}

/// All of them where none is named. Cargo adds words of its own, which begin with dashes.
fn is_wanted(figure: &str) -> bool {
    let mut named =
        std::env::args().skip(1).filter(|word| word.starts_with(|first: char| first.is_alphabetic()));
    std::env::args().any(|word| word == figure) || named.next().is_none()
}

/// One start as its program saw it.
#[derive(Clone, Copy)]
struct Beacon {
    pid: u32,
    at: u64,
}

struct Lab {
    dir: PathBuf,
    socket: UnixDatagram,
}

impl Lab {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("mcsup-figures-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("making the lab");
        let bare = ["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-DBARE"];
        // Where its start is not written in this machine's language, the C library's has to do.
        let flags: &[&str] = if cfg!(target_arch = "x86_64") { &bare } else { &["-static"] };
        for (name, flags) in [("beacon", flags), ("floor", &[]), ("writer", &[])] {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(format!("{name}.c"));
            let built = Command::new("cc")
                .arg("-O2")
                .args(flags)
                .arg("-o")
                .arg(dir.join(name))
                .arg(source)
                .status()
                .expect("cc");
            assert!(built.success(), "cc failed on {name}.c");
        }
        let socket = UnixDatagram::bind(dir.join("s")).expect("binding the socket");
        socket.set_read_timeout(Some(LIMIT)).expect("a read timeout");
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 8 << 20).expect("a large buffer");
        Self { dir, socket }
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn next(&self) -> (usize, Beacon) {
        let mut bytes = [0_u8; 16];
        let read = self.socket.recv(&mut bytes).expect("a beacon within a minute");
        assert_eq!(read, bytes.len());
        let word = |from: usize| u32::from_ne_bytes(bytes[from..from + 4].try_into().expect("four bytes"));
        let at = u64::from_ne_bytes(bytes[8..16].try_into().expect("eight bytes"));
        (word(0) as usize, Beacon { pid: word(4), at })
    }

    fn collect(&self, count: usize) -> BTreeMap<usize, Beacon> {
        let mut beacons = BTreeMap::new();
        while beacons.len() < count {
            let (id, beacon) = self.next();
            assert!(beacons.insert(id, beacon).is_none(), "service {id} was started twice");
        }
        beacons
    }

    fn write_units(&self, count: usize, is_chain: bool) {
        let units = self.dir.join("home/units");
        drop(fs::remove_dir_all(self.dir.join("home")));
        fs::create_dir_all(&units).expect("making the units directory");
        fs::write(units.join("mcsup.yaml"), "log: {max_size: 10M, keep: 5}\n").expect("writing mcsup.yaml");
        for id in 0..count {
            let mut text = format!(
                "command: [{:?}, \"{id}\", {:?}]\nrestart: {{policy: always, backoff: {{initial: 0s}}}}\n",
                self.path("beacon"),
                self.path("s")
            );
            if is_chain && id > 0 {
                text += &format!("depends_on: [svc-{:04}]\n", id - 1);
            }
            fs::write(units.join(format!("svc-{id:04}.yaml")), text).expect("writing a unit");
        }
    }

    fn mcsup(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcsup"));
        command
            .args(arguments)
            .env("MCSUP_HOME", self.dir.join("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn floor(&self, count: usize) -> Command {
        let mut command = Command::new(self.dir.join("floor"));
        command.args([self.path("s"), self.path("beacon"), count.to_string()]);
        command
    }
}

fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).expect("after boot") * 1_000_000_000
        + u64::try_from(now.tv_nsec).expect("positive")
}

/// Starts it, waits for all beacons, and says how long that took.
fn launch(lab: &Lab, mut command: Command, count: usize) -> (Child, BTreeMap<usize, Beacon>, f64) {
    let before = monotonic();
    let child = command.spawn().expect("starting");
    let beacons = lab.collect(count);
    let last = beacons.values().map(|beacon| beacon.at).max().unwrap_or(before);
    (child, beacons, (last - before) as f64 / 1e6)
}

/// SIGTERM, until every service and then the program itself has ended; milliseconds to the last service's end.
fn stop(mut child: Child, beacons: &BTreeMap<usize, Beacon>) -> f64 {
    let descriptors: Vec<_> = beacons
        .values()
        .map(|beacon| {
            let pid = Pid::from_raw(i32::try_from(beacon.pid).expect("a pid")).expect("a pid");
            pidfd_open(pid, PidfdFlags::empty()).expect("a service that lives")
        })
        .collect();
    let before = Instant::now();
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::TERM).expect("SIGTERM");
    for descriptor in &descriptors {
        let mut polled = [rustix::event::PollFd::new(descriptor, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut polled, None).expect("waiting for a service's end");
    }
    let took = before.elapsed().as_secs_f64() * 1e3;
    child.wait().expect("its end");
    took
}

fn boots(lab: &Lab, name: &str, count: usize, is_chain: bool) {
    let (mut floors, mut ours, mut floor_stops, mut stops) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut early = 0;
    for _ in 0..ROUNDS {
        let (child, beacons, took) = launch(lab, lab.floor(count), count);
        floors.push(took);
        floor_stops.push(stop(child, &beacons));
        lab.write_units(count, is_chain);
        let (child, beacons, took) = launch(lab, lab.mcsup(&["up"]), count);
        // A start counts from exec on, so a program that gets no processor may speak after who needs it.
        early += beacons.values().zip(beacons.values().skip(1)).filter(|(one, two)| one.at > two.at).count();
        ours.push(took);
        stops.push(stop(child, &beacons));
    }
    compare(&format!("{name} {count}, ms"), &ours, &floors);
    compare(&format!("stop after {name}, ms"), &stops, &floor_stops);
    if is_chain {
        println!("{:<28} {early:>10} of {}", "spoke before who it needs", ROUNDS * count);
    }
}

/// Everything that is measured on services at rest.
fn steady(lab: &Lab, count: usize) {
    let (child, mut beacons, _) = launch(lab, lab.floor(count), count);
    let floor_restarts = restarts(lab, &mut beacons);
    stop(child, &beacons);
    lab.write_units(count, false);
    let (child, mut beacons, _) = launch(lab, lab.mcsup(&["up"]), count);
    let rings = rings_of(child.id());
    println!("{:<28} {:>10} processes", "rings", rings.len());
    // Before the restarts, each of which ends in a deadline of its own, and after the boot's last threads.
    std::thread::sleep(Duration::from_secs(3));
    let before: u64 = rings.iter().map(|pid| switches(*pid)).sum();
    std::thread::sleep(Duration::from_secs(10)); // the figure is a rate over this time
    let after: u64 = rings.iter().map(|pid| switches(*pid)).sum();
    println!("{:<28} {:>10.1} per s", "wake-ups at rest", after.saturating_sub(before) as f64 / 10.0);
    let pss: u64 = rings.iter().map(|pid| pss_kib(*pid)).sum();
    println!("{:<28} {:>10.2} MiB PSS", "memory of both rings", pss as f64 / 1024.0);
    let ours = restarts(lab, &mut beacons);
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        compare(
            &format!("restart {name}, ms"),
            &[quantile(&ours, share)],
            &[quantile(&floor_restarts, share)],
        );
    }
    let statuses: Vec<f64> = (0..15)
        .map(|_| {
            let before = Instant::now();
            assert!(lab.mcsup(&["status"]).status().expect("mcsup status").success());
            before.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    println!("{:<28} {:>10.2} ms", "status of all", median(&statuses));
    stop(child, &beacons);
}

/// SIGKILL to services one after another; milliseconds from the signal to the next program's first act.
fn restarts(lab: &Lab, beacons: &mut BTreeMap<usize, Beacon>) -> Vec<f64> {
    let count = beacons.len();
    (0..KILLS.min(count))
        .map(|kill| {
            let id = kill * 7 % count;
            let pid = Pid::from_raw(i32::try_from(beacons[&id].pid).expect("a pid")).expect("a pid");
            let before = monotonic();
            kill_process(pid, Signal::KILL).expect("SIGKILL to a service of ours");
            let (restarted, beacon) = lab.next();
            assert_eq!(restarted, id, "another service was started");
            beacons.insert(id, beacon);
            (beacon.at - before) as f64 / 1e6
        })
        .collect()
}

/// Files that are saved: from the save to the new process, and of a save that changes nothing, until all is quiet.
fn change(lab: &Lab, count: usize) {
    lab.write_units(count, false);
    let units = lab.dir.join("home/units");
    // Long enough to see a crash, and no longer: one round after the other.
    fs::write(units.join("mcsup.yaml"), "apply: {verify: 5s, settle: 100ms}\n").expect("writing mcsup.yaml");
    let (child, beacons, _) = launch(lab, lab.mcsup(&["up"]), count);
    wait_for_generation(lab, 1);
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let id = round * 7 % count;
        let file = units.join(format!("svc-{id:04}.yaml"));
        let text =
            fs::read_to_string(&file).expect("a unit file") + &format!("environment: {{ROUND: r{round}}}\n");
        fs::write(units.join(".next"), text).expect("writing a unit");
        let before = monotonic();
        fs::rename(units.join(".next"), &file).expect("saving a unit");
        let (changed, beacon) = lab.next();
        assert_eq!(changed, id, "another service was started");
        took.push((beacon.at - before) as f64 / 1e6);
        wait_for_generation(lab, round + 2);
    }
    println!("{:<28} {:>10.1} ms   {took:.1?}", "save to new process", median(&took));
    let rings = rings_of(child.id());
    let quiet: Vec<f64> = (0..ROUNDS).map(|_| until_quiet(&rings, || save_all(&units))).collect();
    println!("{:<28} {:>10.1} ms   {quiet:.1?}", "save of all, until quiet", median(&quiet));
    lab.socket.set_nonblocking(true).expect("a socket");
    assert!(lab.socket.recv(&mut [0; 16]).is_err(), "a service was restarted");
    lab.socket.set_nonblocking(false).expect("a socket");
    assert_eq!(generation(lab), Some(ROUNDS + 1), "what is the same is no generation");
    drop(beacons);
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::TERM).expect("SIGTERM");
    let mut child = child;
    child.wait().expect("its end");
}

/// Each with the text that it has.
fn save_all(units: &Path) {
    for entry in fs::read_dir(units).expect("units").flatten() {
        let text = fs::read(entry.path()).expect("a unit file");
        fs::write(entry.path(), text).expect("writing a unit");
    }
}

/// Milliseconds from the end of the act to the last time that a ring did anything of weight. In steps of the kernel's
/// clock ticks; a thread that ends for want of work is not seen.
fn until_quiet(rings: &[u32], act: impl Fn()) -> f64 {
    act();
    let acted = Instant::now();
    let count = || rings.iter().map(|pid| ticks(*pid)).sum::<u64>();
    let (mut last, mut at) = (count(), acted);
    // Longer than the pause after the last save.
    while at.elapsed() < Duration::from_millis(1500) {
        std::thread::sleep(Duration::from_millis(2));
        let now = count();
        if now != last {
            (last, at) = (now, Instant::now());
        }
    }
    (at - acted).as_secs_f64() * 1e3
}

/// Processor time so far.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a ring");
    let fields = stat.rsplit(')').next().expect("fields").split_whitespace();
    fields.skip(11).take(2).map(|word| word.parse::<u64>().expect("a number")).sum()
}

fn generation(lab: &Lab) -> Option<usize> {
    fs::read_link(lab.dir.join("home/state/generations/current")).ok()?.to_str()?.parse().ok()
}

fn wait_for_generation(lab: &Lab, number: usize) {
    let started = Instant::now();
    while generation(lab) != Some(number) {
        assert!(started.elapsed() < LIMIT, "no generation {number} within a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn check(lab: &Lab, count: usize) {
    lab.write_units(count, true);
    let units = lab.path("home/units");
    let times: Vec<f64> = (0..9)
        .map(|_| {
            let before = Instant::now();
            assert!(
                lab.mcsup(&["check", &units]).stderr(Stdio::null()).status().expect("mcsup check").success()
            );
            before.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    println!("{:<28} {:>10.2} ms", format!("check of {count} files"), median(&times));
}

/// A task that writes numbered lines and ends; against `writer | cat > file`. Throughput, so more is better.
fn logs(lab: &Lab, block: u64) {
    let writer = lab.path("writer");
    let (mut floors, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = Instant::now();
        let line = format!("{writer} {LOG_MEBIBYTES} {block} | cat > {}", lab.path("cat.log"));
        assert!(Command::new("sh").args(["-c", &line]).status().expect("sh").success());
        floors.push(LOG_MEBIBYTES as f64 / before.elapsed().as_secs_f64());
        fs::remove_file(lab.path("cat.log")).expect("removing cat's log");

        lab.write_units(0, false);
        let text =
            format!("kind: task\nenabled: false\ncommand: [{writer:?}, \"{LOG_MEBIBYTES}\", \"{block}\"]\n");
        fs::write(lab.dir.join("home/units/writer.yaml"), text).expect("writing the unit");
        let mut child = lab.mcsup(&["up"]).spawn().expect("mcsup up");
        let started = Instant::now();
        while !lab.mcsup(&["status"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            assert!(started.elapsed() < LIMIT, "no supervisor within a minute");
        }
        let before = Instant::now();
        assert!(
            lab.mcsup(&["start", "writer"]).status().expect("mcsup start").success(),
            "the writer failed"
        );
        ours.push(LOG_MEBIBYTES as f64 / before.elapsed().as_secs_f64());
        assert_last_line(&lab.dir.join("home/log/writer"));
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::TERM).expect("SIGTERM");
        child.wait().expect("its end");
    }
    compare(&format!("logs at {block} B, MiB/s"), &ours, &floors);
}

/// The last line that was written is the last line kept.
fn assert_last_line(log: &Path) {
    let last = LOG_MEBIBYTES * 1_048_576 / 100 - 1;
    let mut kept = String::new();
    for entry in fs::read_dir(log).expect("the log directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "index") {
            fs::File::open(path).and_then(|mut file| file.read_to_string(&mut kept)).expect("a log file");
        }
    }
    assert!(kept.contains(&format!("\n{last:012} ")), "the last line is missing");
}

fn rings_of(keeper: u32) -> Vec<u32> {
    let mut rings = vec![keeper];
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((head, tail)) = stat.rsplit_once(')') else { continue };
        let parent = tail.split_whitespace().nth(1).and_then(|word| word.parse::<u32>().ok());
        if parent == Some(keeper) && head.contains("mcsup") {
            rings.push(pid);
        }
    }
    rings
}

fn pss_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a Pss line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn switches(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    tasks
        .flatten()
        .map(|task| {
            let text = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
        })
        .sum()
}

fn compare(name: &str, ours: &[f64], floors: &[f64]) {
    let ratios: Vec<f64> = ours.iter().zip(floors).map(|(ours, floor)| ours / floor).collect();
    let (ours, floor, ratio) = (median(ours), median(floors), median(&ratios));
    println!("{name:<28} {ours:>10.2}   floor {floor:>10.2}   ratio {ratio:>5.2}");
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[at]
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}
