//! What the answers mean for mcsup: a rule for each, in the order in which they are shown.

use crate::doctor::answers::{Answer, Answers, Cgroup, Disk, Inotify, Limit, Place};
use crate::doctor::{Finding, Remedy, Verdict};

pub(super) fn findings(answers: &Answers) -> Vec<Finding> {
    vec![
        kernel(&answers.kernel),
        user(answers.user),
        proc_files(&answers.proc_files),
        pidfd(&answers.pidfd, &answers.kernel),
        clone3(&answers.clone3),
        subreaper(&answers.subreaper),
        packets(&answers.packets),
        sealed_memory(&answers.sealed_memory),
        cgroup(&answers.cgroup),
        landlock(&answers.landlock),
        inotify(&answers.inotify),
        open_files(answers.open_files),
        locked_memory(answers.locked_memory, answers.user),
        oom_score(&answers.oom_score),
        overcommit(&answers.overcommit),
        boot_timer(&answers.boot_timer),
        clock(&answers.clock),
        run(&answers.run),
        state(&answers.state),
        log(&answers.log),
    ]
}

fn good(name: &'static str, seen: impl Into<String>) -> Finding {
    Finding { name, seen: seen.into(), verdict: Verdict::Good }
}

fn lacking(name: &'static str, seen: impl Into<String>, without: &'static str, mend: &str) -> Finding {
    let verdict = Verdict::Lacking(Remedy { without, mend: mend.to_owned() });
    Finding { name, seen: seen.into(), verdict }
}

fn missing(name: &'static str, seen: impl Into<String>, without: &'static str, mend: &str) -> Finding {
    let verdict = Verdict::Missing(Remedy { without, mend: mend.to_owned() });
    Finding { name, seen: seen.into(), verdict }
}

/// The oldest that the tests boot, as (major, minor): Debian 12's.
const TESTED_KERNEL: (u32, u32) = (6, 1);
/// The first that says of a process that is not our child how it ended.
const TELLS_EXITS: (u32, u32) = (6, 15);

fn kernel(answer: &Answer<String>) -> Finding {
    let name = "kernel";
    match answer {
        Ok(release) if version(release) >= Some(TESTED_KERNEL) => good(name, format!("Linux {release}")),
        Ok(release) => lacking(
            name,
            format!("Linux {release}"),
            "it takes older ways where newer ones are missing, which nobody tests on this kernel",
            "run Linux 6.1 or later",
        ),
        Err(cause) => lacking(name, cause, "nobody knows what it runs on", "run Linux 6.1 or later"),
    }
}

/// `6.1` of `6.1.0-13-cloud-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn user(user: u32) -> Finding {
    if user == 0 {
        return good("user", "root");
    }
    lacking(
        "user",
        format!("user {user}"),
        "every unit runs as this user: `user`, `group` and limits above its own are refused",
        "run it as root, where units need users of their own",
    )
}

fn proc_files(answer: &Answer) -> Finding {
    match answer {
        Ok(()) => good("proc", "/proc shows this process"),
        Err(cause) => lacking(
            "proc",
            format!("/proc: {cause}"),
            "stragglers of a run are found by process group alone, evidence is thin, and after both rings died \
             nothing is taken over",
            "mount -t proc proc /proc, in the pid namespace that mcsup runs in",
        ),
    }
}

fn pidfd(answer: &Answer, kernel: &Answer<String>) -> Finding {
    let tells = kernel.as_ref().is_ok_and(|release| version(release) >= Some(TELLS_EXITS));
    match answer {
        Ok(()) if tells => good("pidfd", "offered, with the exit status of adopted processes"),
        Ok(()) => lacking(
            "pidfd",
            "offered, without the exit status of adopted processes (Linux 6.15)",
            "a run that was taken over from a keeper that died ends with an unknown status",
            "run Linux 6.15 or later, where that matters",
        ),
        Err(cause) => lacking(
            "pidfd",
            cause,
            "signals go by number, and no run is taken over from a keeper that died",
            "run Linux 5.3 or later, and allow pidfd_open in the seccomp profile of the container",
        ),
    }
}

fn clone3(answer: &Answer) -> Finding {
    match answer {
        Ok(()) => good("clone3", "offered"),
        Err(cause) => lacking(
            "clone3",
            format!("refused: {cause}"),
            "processes are started by clone, and their pidfds opened afterwards",
            "run Linux 5.3 or later, and allow clone3 in the seccomp profile of the container",
        ),
    }
}

fn subreaper(answer: &Answer) -> Finding {
    match answer {
        Ok(()) => good("subreaper", "orphans of services come back to the keeper"),
        Err(cause) => missing(
            "subreaper",
            cause,
            "the keeper does not start, as daemons would slip away from it",
            "allow prctl in the seccomp profile of the container",
        ),
    }
}

fn packets(answer: &Answer) -> Finding {
    match answer {
        Ok(()) => good("sockets", "packets and epoll are offered"),
        Err(cause) => missing(
            "sockets",
            cause,
            "the rings cannot talk to each other",
            "allow AF_UNIX sockets of type SOCK_SEQPACKET and epoll in the seccomp profile of the container",
        ),
    }
}

fn sealed_memory(answer: &Answer) -> Finding {
    match answer {
        Ok(()) => good("memfd", "offered, with seals"),
        Err(cause) => missing(
            "memfd",
            cause,
            "what is longer than a packet cannot be told between the rings: large unit sets do not run",
            "allow memfd_create in the seccomp profile of the container",
        ),
    }
}

fn cgroup(cgroup: &Cgroup) -> Finding {
    let name = "cgroup2";
    let without = "what is left of a run is found by process group and orphans; memory, cpu and tasks are \
                   neither counted nor limited";
    match cgroup {
        Cgroup::NotMounted => {
            lacking(name, "not mounted", without, "mount -t cgroup2 none /sys/fs/cgroup, or boot with it")
        }
        Cgroup::Elsewhere => lacking(
            name,
            "mounted, but without the group that this process is in",
            without,
            "mount it in the cgroup namespace that mcsup runs in",
        ),
        Cgroup::Refused { dir, cause } => lacking(
            name,
            format!("{dir} takes no group: {cause}"),
            without,
            "run as root on a writable /sys/fs/cgroup, or under a systemd unit with Delegate=yes",
        ),
        Cgroup::Writable { dir, has_kill: false, .. } => lacking(
            name,
            format!("{dir} is ours to write; no cgroup.kill (Linux 5.14)"),
            "a run is killed process by process",
            "run Linux 5.14 or later",
        ),
        Cgroup::Writable { dir, controllers, .. } => {
            let wanted = ["cpu", "memory", "pids"];
            let seen = format!("{dir} is ours to write, with {}", listed(controllers));
            if wanted.iter().all(|one| controllers.iter().any(|there| there == one)) {
                return good(name, seen);
            }
            lacking(
                name,
                seen,
                "what has no controller is neither counted nor limited: one of cpu, memory and pids",
                "write +cpu +memory +pids into cgroup.subtree_control of the group above, and bind none of them \
                 to version 1",
            )
        }
    }
}

fn listed(controllers: &[String]) -> String {
    if controllers.is_empty() { "no controller".to_owned() } else { controllers.join(", ") }
}

fn landlock(answer: &Answer<u32>) -> Finding {
    match answer {
        Ok(version) => good("landlock", format!("version {version}")),
        Err(cause) => lacking(
            "landlock",
            cause,
            "what a unit may not write is not kept from it by Landlock",
            "run Linux 5.13 or later with landlock among lsm= on the kernel's command line",
        ),
    }
}

/// One for everything that mcsup listens to, and a few for services.
const FEW_INSTANCES: u64 = 16;
/// A watch a directory: of units, of jobs' paths, of validators.
const FEW_WATCHES: u64 = 4_096;

fn inotify(answer: &Answer<Inotify>) -> Finding {
    let without = "changed files are found late or not at all: say `mcsup reload` after a change";
    match answer {
        Err(cause) => lacking(
            "inotify",
            cause,
            without,
            "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches by sysctl, or find who uses them up",
        ),
        Ok(Inotify { instances, watches }) => {
            let number =
                |most: &Option<u64>| most.map_or_else(|| "unknown".to_owned(), |most| most.to_string());
            let seen = format!("{} instances, {} watches a user", number(instances), number(watches));
            let is_few = instances.is_some_and(|most| most < FEW_INSTANCES)
                || watches.is_some_and(|most| most < FEW_WATCHES);
            if is_few {
                let mend = "sysctl fs.inotify.max_user_instances=128 fs.inotify.max_user_watches=65536";
                return lacking("inotify", seen, without, mend);
            }
            good("inotify", seen)
        }
    }
}

/// What both rings, their files and a few clients need beside the runs.
const OWN_FILES: u64 = 128;
/// Descriptors that the keeper holds for a run.
const FILES_A_RUN: u64 = 3;
/// Below it, a medium set of services finds no room.
const FEW_FILES: u64 = 1_024;

fn open_files(limit: Limit) -> Finding {
    let Some(hard) = limit.hard else { return good("open-files", "as many as the kernel has") };
    let runs = hard.saturating_sub(OWN_FILES) / FILES_A_RUN;
    let seen = format!("up to {hard} open files: room for {runs} runs");
    if hard >= FEW_FILES {
        return good("open-files", seen);
    }
    lacking(
        "open-files",
        seen,
        "runs beyond that number cannot be started",
        "ulimit -Hn 65536 before mcsup, or LimitNOFILE=65536 in its systemd unit",
    )
}

/// What systemd gives to everybody.
const USUAL_LOCKED_BYTES: u64 = 8 << 20;

fn locked_memory(limit: Limit, user: u32) -> Finding {
    let bytes = |limit: Option<u64>| {
        limit.map_or_else(|| "unlimited".to_owned(), |bytes| format!("{} KiB", bytes >> 10))
    };
    let seen = format!("{} may be locked, up to {}", bytes(limit.soft), bytes(limit.hard));
    if user == 0 || limit.hard.is_none_or(|hard| hard >= USUAL_LOCKED_BYTES) {
        return good("locked-memory", seen);
    }
    lacking(
        "locked-memory",
        seen,
        "mcsup locks none itself, but services that do (databases, io_uring, key stores) may be refused",
        "ulimit -Hl 65536 before mcsup, or LimitMEMLOCK=64M in its systemd unit",
    )
}

fn oom_score(answer: &Answer) -> Finding {
    match answer {
        Ok(()) => good("oom-score", "the keeper can be made the last to be killed for memory"),
        Err(cause) => lacking(
            "oom-score",
            format!("/proc/self/oom_score_adj: {cause}"),
            "when memory runs out, the keeper is as likely to be killed as any service",
            "run as root or with CAP_SYS_RESOURCE",
        ),
    }
}

fn overcommit(answer: &Answer<u32>) -> Finding {
    match answer {
        Ok(2) => lacking(
            "overcommit",
            "never (vm.overcommit_memory=2)",
            "starts fail once all memory is promised, though much of it may be free",
            "sysctl vm.overcommit_memory=0, or raise vm.overcommit_ratio",
        ),
        Ok(mode) => good("overcommit", if *mode == 1 { "always" } else { "within reason" }),
        Err(cause) => good("overcommit", format!("not known: {cause}")),
    }
}

fn boot_timer(answer: &Answer) -> Finding {
    match answer {
        Ok(()) => good("boot-clock", "timers count the time asleep"),
        Err(cause) => missing(
            "boot-clock",
            cause,
            "the supervisor does not start: every delay lives on CLOCK_BOOTTIME",
            "allow timerfd_create in the seccomp profile of the container",
        ),
    }
}

fn clock(answer: &Answer<bool>) -> Finding {
    let without = "schedules follow a clock that nobody corrects";
    let mend = "run chrony, ntpd or systemd-timesyncd, here or on the host of this container or machine";
    match answer {
        Ok(true) => good("clock", "the wall clock is synchronized"),
        Ok(false) => lacking("clock", "the wall clock is not synchronized", without, mend),
        Err(cause) => good("clock", format!("not known whether the wall clock is synchronized: {cause}")),
    }
}

fn run(place: &Place<Answer>) -> Finding {
    let Place { dir, tried } = place;
    match tried {
        Ok(()) => good("run", format!("{dir} can hold the control socket")),
        Err(cause) => missing(
            "run",
            format!("{dir}: {cause}"),
            "mcsup does not start: there is no place for the control socket",
            "mount a tmpfs on /run, run as the user who owns the directory, or name a home with --home DIR",
        ),
    }
}

fn state(place: &Place<Answer<Disk>>) -> Finding {
    let (name, dir) = ("state", &place.dir);
    let elsewhere = "keep the state directory on a local disk: --home DIR, or a mount on /var/lib/mcsup";
    let disk = match &place.tried {
        Ok(disk) => disk,
        Err(cause) => {
            let mend = "make it writable for the user of mcsup, or name a home with --home DIR";
            return missing(name, format!("{dir}: {cause}"), "mcsup does not start", mend);
        }
    };
    let checks = [
        (
            &disk.lock,
            "cannot be locked",
            "mcsup does not start: nothing tells whether another one lives",
            true,
        ),
        (&disk.fsync, "cannot be synced", "a power cut may take the last generation with it", false),
        (
            &disk.hard_links,
            "has no hard links",
            "each generation is a whole copy of the units directory",
            false,
        ),
    ];
    for (answer, seen, without, is_needed) in checks {
        if let Err(cause) = answer {
            let how = if is_needed { missing } else { lacking };
            return how(name, format!("{dir} {seen}: {cause}"), without, elsewhere);
        }
    }
    match disk.remote {
        Some(kind) => lacking(
            name,
            format!("{dir} is on another machine ({kind})"),
            "mcsup stands still in its records when that machine does; the history may be damaged",
            elsewhere,
        ),
        None => good(name, format!("{dir} is writable, with fsync, locks and hard links")),
    }
}

fn log(place: &Place<Answer>) -> Finding {
    let Place { dir, tried } = place;
    match tried {
        Ok(()) => good("log", format!("{dir} is writable")),
        Err(cause) => missing(
            "log",
            format!("{dir}: {cause}"),
            "mcsup does not start: there is no place for the output of services",
            "make it writable for the user of mcsup, or name a home with --home DIR",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no<T>() -> Answer<T> {
        Err("Operation not permitted (os error 1)".to_owned())
    }

    /// A host with everything.
    fn best() -> Answers {
        let disk = Disk { fsync: Ok(()), hard_links: Ok(()), lock: Ok(()), remote: None };
        Answers {
            kernel: Ok("6.18.44".to_owned()),
            user: 0,
            proc_files: Ok(()),
            pidfd: Ok(()),
            clone3: Ok(()),
            subreaper: Ok(()),
            packets: Ok(()),
            sealed_memory: Ok(()),
            cgroup: Cgroup::Writable {
                dir: "/sys/fs/cgroup".to_owned(),
                controllers: ["cpu", "io", "memory", "pids"].map(str::to_owned).into(),
                has_kill: true,
            },
            landlock: Ok(7),
            inotify: Ok(Inotify { instances: Some(128), watches: Some(65_536) }),
            open_files: Limit { soft: Some(1_024), hard: Some(1 << 20) },
            locked_memory: Limit { soft: Some(8 << 20), hard: None },
            oom_score: Ok(()),
            overcommit: Ok(0),
            boot_timer: Ok(()),
            clock: Ok(true),
            run: Place { dir: "/run/mcsup".to_owned(), tried: Ok(()) },
            state: Place { dir: "/var/lib/mcsup".to_owned(), tried: Ok(disk) },
            log: Place { dir: "/var/log/mcsup".to_owned(), tried: Ok(()) },
        }
    }

    /// What is not good on it, with its verdict.
    fn complaints(answers: &Answers) -> Vec<String> {
        let bad = findings(answers).into_iter().filter(|finding| finding.verdict != Verdict::Good);
        bad.map(|finding| format!("{} {}", finding.verdict.word(), finding.name)).collect()
    }

    fn but(change: impl FnOnce(&mut Answers)) -> Vec<String> {
        let mut answers = best();
        change(&mut answers);
        complaints(&answers)
    }

    fn disk(answers: &mut Answers) -> &mut Disk {
        answers.state.tried.as_mut().unwrap()
    }

    #[test]
    fn a_host_with_everything_gets_no_advice() {
        assert_eq!(complaints(&best()), [""; 0]);
        assert_eq!(findings(&best()).len(), 20);
    }

    #[test]
    fn what_mcsup_does_without_is_lacking() {
        assert_eq!(
            but(|host| host.kernel = Ok("5.10.0-13-amd64".to_owned())),
            ["lacking kernel", "lacking pidfd"]
        );
        assert_eq!(but(|host| host.kernel = Ok("6.1".to_owned())), ["lacking pidfd"]);
        assert_eq!(but(|host| host.user = 1_000), ["lacking user"]);
        assert_eq!(but(|host| host.proc_files = no()), ["lacking proc"]);
        assert_eq!(but(|host| host.pidfd = no()), ["lacking pidfd"]);
        assert_eq!(but(|host| host.clone3 = no()), ["lacking clone3"]);
        assert_eq!(but(|host| host.landlock = no()), ["lacking landlock"]);
        assert_eq!(but(|host| host.inotify = no()), ["lacking inotify"]);
        let few = |instances, watches| Ok(Inotify { instances, watches });
        assert_eq!(but(|host| host.inotify = few(Some(1), Some(65_536))), ["lacking inotify"]);
        assert_eq!(but(|host| host.inotify = few(None, Some(8))), ["lacking inotify"]);
        assert_eq!(but(|host| host.inotify = few(None, None)), [""; 0]);
        assert_eq!(but(|host| host.open_files.hard = Some(1_023)), ["lacking open-files"]);
        assert_eq!(but(|host| host.oom_score = no()), ["lacking oom-score"]);
        assert_eq!(but(|host| host.overcommit = Ok(2)), ["lacking overcommit"]);
        assert_eq!(but(|host| host.clock = Ok(false)), ["lacking clock"]);
        assert_eq!(but(|host| disk(host).fsync = no()), ["lacking state"]);
        assert_eq!(but(|host| disk(host).hard_links = no()), ["lacking state"]);
        assert_eq!(but(|host| disk(host).remote = Some("NFS")), ["lacking state"]);
    }

    #[test]
    fn what_mcsup_needs_is_missing() {
        assert_eq!(but(|host| host.subreaper = no()), ["missing subreaper"]);
        assert_eq!(but(|host| host.packets = no()), ["missing sockets"]);
        assert_eq!(but(|host| host.sealed_memory = no()), ["missing memfd"]);
        assert_eq!(but(|host| host.boot_timer = no()), ["missing boot-clock"]);
        assert_eq!(but(|host| host.run.tried = no()), ["missing run"]);
        assert_eq!(but(|host| host.log.tried = no()), ["missing log"]);
        assert_eq!(but(|host| host.state.tried = no()), ["missing state"]);
        // What is needed goes before what is not.
        assert_eq!(but(|host| (disk(host).lock, disk(host).fsync) = (no(), no())), ["missing state"]);
    }

    #[test]
    fn a_cgroup_tree_has_many_ways_to_be_of_no_use() {
        let dir = || "/sys/fs/cgroup/box".to_owned();
        let none = Cgroup::Writable { dir: dir(), controllers: Vec::new(), has_kill: true };
        let old = Cgroup::Writable { dir: dir(), controllers: vec!["pids".to_owned()], has_kill: false };
        let refused = Cgroup::Refused { dir: dir(), cause: "Read-only file system (os error 30)".to_owned() };
        for cgroup in [Cgroup::NotMounted, Cgroup::Elsewhere, refused, none, old] {
            let finding = super::cgroup(&cgroup);
            assert_eq!(finding.verdict.word(), "lacking", "{finding:?}");
        }
    }

    #[test]
    fn locked_memory_is_a_matter_of_who_is_not_root() {
        let little = Limit { soft: Some(65_536), hard: Some(65_536) };
        assert_eq!(but(|host| host.locked_memory = little), [""; 0]);
        let all = but(|host| (host.locked_memory, host.user) = (little, 1));
        assert_eq!(all, ["lacking user", "lacking locked-memory"]);
    }

    #[test]
    fn what_cannot_be_asked_is_no_complaint_where_nothing_can_be_done() {
        assert_eq!(but(|host| host.clock = no()), [""; 0]);
        assert_eq!(but(|host| host.overcommit = no()), [""; 0]);
    }

    #[test]
    fn versions_are_read_from_any_release() {
        assert_eq!(version("6.1.0-13-cloud-amd64"), Some((6, 1)));
        assert_eq!(version("7.0-rc1"), Some((7, 0)));
        assert_eq!(version("unknown"), None);
    }
}
