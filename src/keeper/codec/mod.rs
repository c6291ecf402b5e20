//! Messages as bytes. Every type of `wire` is listed once here, field by field in order; the
//! compiler then insists that nothing is left out on either side.

use std::sync::Arc;

use crate::keeper::wire::{
    AdoptOrder, Carried, CgroupOrder, Confinement, Credentials, Exit, Finale, Given, KeptOrder, Limit,
    LogOrder, LogPlace, Order, Replacement, Report, Row, Scope, SpawnOrder, Stage, Step, Usage,
};

/// Something that travels over the link as a whole.
pub trait Message: Sized {
    fn encode(&self) -> Vec<u8>;

    /// `None` for bytes that no version of this program writes.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

impl Message for Order {
    fn encode(&self) -> Vec<u8> {
        bytes_of(self)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        whole(bytes)
    }
}

impl Message for Report {
    fn encode(&self) -> Vec<u8> {
        bytes_of(self)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        whole(bytes)
    }
}

fn bytes_of<T: Wire>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

/// Refuses what has bytes left over: the two sides then disagree about the format.
fn whole<T: Wire>(mut bytes: &[u8]) -> Option<T> {
    let value = T::take(&mut bytes)?;
    bytes.is_empty().then_some(value)
}

trait Wire: Sized {
    fn put(&self, out: &mut Vec<u8>);

    fn take(input: &mut &[u8]) -> Option<Self>;

    fn put_all(items: &[Self], out: &mut Vec<u8>) {
        for item in items {
            item.put(out);
        }
    }

    /// Grows as items really come, so that a lie about their number costs nothing.
    fn take_all(count: usize, input: &mut &[u8]) -> Option<Vec<Self>> {
        (0..count).map(|_| Self::take(input)).collect()
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(input: &mut &[u8]) -> Option<Self> {
                let (bytes, rest) = input.split_first_chunk()?;
                *input = rest;
                Some(Self::from_le_bytes(*bytes))
            }
        }
    )*};
}

integers!(u16, u32, u64, i16, i32);

impl Wire for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        let (first, rest) = input.split_first()?;
        *input = rest;
        Some(*first)
    }

    fn put_all(items: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(items);
    }

    fn take_all(count: usize, input: &mut &[u8]) -> Option<Vec<Self>> {
        let (bytes, rest) = input.split_at_checked(count)?;
        *input = rest;
        Some(bytes.to_vec())
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        match u8::take(input)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    /// What does not fit a 32-bit count is cut; nothing that a kernel lets through is that long.
    fn put(&self, out: &mut Vec<u8>) {
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        count.put(out);
        let fitting = usize::try_from(count).ok().and_then(|count| self.get(..count));
        T::put_all(fitting.unwrap_or_default(), out);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        let count = usize::try_from(u32::take(input)?).ok()?;
        T::take_all(count, input)
    }
}

impl Wire for Arc<[u8]> {
    fn put(&self, out: &mut Vec<u8>) {
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        count.put(out);
        u8::put_all(self, out);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        Vec::take(input).map(Self::from)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        count.put(out);
        u8::put_all(self.as_bytes(), out);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        Self::from_utf8(Vec::take(input)?).ok()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        if bool::take(input)? { T::take(input).map(Some) } else { Some(None) }
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        Some((A::take(input)?, B::take(input)?))
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        T::take(input).map(Self::new)
    }
}

macro_rules! record {
    ($type:ident { $($field:ident),* }) => {
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($field.put(out);)*
            }

            fn take(input: &mut &[u8]) -> Option<Self> {
                $(let $field = Wire::take(input)?;)*
                Some(Self { $($field),* })
            }
        }
    };
}

macro_rules! choice {
    ($type:ident { $($tag:literal => $name:ident { $($field:ident $(: $at:tt)?),* }),* $(,)? }) => {
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name { $($($at:)? $field),* } => {
                        out.push($tag);
                        $($field.put(out);)*
                    })*
                }
            }

            fn take(input: &mut &[u8]) -> Option<Self> {
                match u8::take(input)? {
                    $($tag => {
                        $(let $field = Wire::take(input)?;)*
                        Some(Self::$name { $($($at:)? $field),* })
                    })*
                    _ => None,
                }
            }
        }
    };
}

choice!(Order {
    0 => Hello { version, pid },
    2 => Signal { run, signal, scope },
    3 => Release { run },
    4 => Remember { key, value },
    6 => LogTotal { bytes },
    7 => Ping { number },
    8 => Pong { number },
    9 => Quit { code },
    10 => ShutdownTimeout { ms },
    11 => Spawn { order: 0 },
    13 => Hold { key },
    14 => LetGo { key },
    15 => ForgetStored { unit },
    16 => Adopt { order: 0 },
    17 => Relog { run, unit, log },
    18 => Rehearse {},
    19 => Replace {},
    20 => Ready {},
    30 => CannotBegin { code },
    31 => AtEnd { finale },
});

choice!(Report {
    0 => Hello { version, pid, restarts, safe_mode },
    2 => Note { key, value },
    3 => HandedOver { rows, notes },
    5 => SpawnFailed { run, step, errno },
    6 => Exited { run, exit, usage, is_empty, log_end },
    7 => Emptied { run },
    8 => Signalled { signal, sender_pid },
    9 => LogTrouble { unit, errno, lost_bytes },
    10 => Strangers { reaped },
    11 => Ping { number },
    12 => Pong { number },
    14 => Spawned { run, pid, start_time, carries },
    15 => Held { key },
    16 => Notified { run, text },
    17 => ReadyShown { run },
    18 => MainChanged { run, pid, start_time },
    19 => Row { row: 0 },
    20 => Rehearsed { number, version, trouble },
    21 => Replaced { replacement: 0 },
});

choice!(Given {
    0 => Output {},
    1 => Listen { key, name },
    2 => ReadyPipe { number },
    3 => Input {},
});

choice!(Carried { 0 => Pidfd {}, 1 => Output {}, 2 => Notify {}, 3 => Ready {}, 4 => Kept {} });

choice!(Finale { 0 => Reboot {}, 1 => PowerOff {}, 2 => Halt {} });

choice!(Scope { 0 => Main {}, 1 => All {} });

choice!(Stage {
    0 => Spawning {},
    1 => Live {},
    2 => SpawnFailed { step, errno },
    3 => Exited { exit, usage, is_empty, log_end },
});

choice!(Exit { 0 => Code { code: 0 }, 1 => Signal { number, dumped_core }, 2 => Unknown {} });

choice!(Step {
    0 => Prepare {},
    1 => Clone {},
    2 => Session {},
    3 => Limits {},
    4 => OomScore {},
    5 => Groups {},
    6 => Setgid {},
    7 => Setuid {},
    8 => Chdir {},
    9 => Descriptors {},
    10 => Exec {},
    11 => Timeout {},
    12 => Cgroup {},
    13 => Nice {},
    14 => CpuAffinity {},
    15 => PrivateTmp {},
    16 => Credentials {},
    17 => ReadOnly {},
    18 => NoNewPrivileges {},
    19 => Capabilities {},
});

record!(SpawnOrder {
    run,
    unit,
    ordinal,
    program,
    argv,
    env,
    working_dir,
    credentials,
    limits,
    oom_score_adjust,
    log,
    timeout_ms,
    given,
    notify,
    log_place,
    cgroup,
    confinement
});
record!(CgroupOrder { settings });
record!(Confinement {
    umask,
    nice,
    cpus,
    no_new_privileges,
    capabilities,
    writable,
    private_tmp,
    credentials,
    credentials_dir
});
record!(Credentials { uid, gid, groups });
record!(Limit { resource, soft, hard });
record!(LogOrder { dir, max_size_bytes, max_age_ms, keep, block_when_full, kept });
record!(KeptOrder { path, most_bytes, is_stderr });
record!(AdoptOrder {
    run,
    unit,
    spawned_as,
    ordinal,
    pid,
    start_time,
    spawned_at,
    exit,
    log,
    carries,
    is_ready_shown,
    log_place
});
record!(Row {
    run,
    unit,
    spawned_as,
    ordinal,
    pid,
    start_time,
    spawned_at,
    stage,
    log,
    carries,
    is_ready_shown,
    log_place
});
record!(LogPlace { inode, born, offset });
record!(Replacement { number, from, to, trouble, is_news });
record!(Usage { user_us, system_us, max_rss_kib });

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<M: Message + PartialEq + std::fmt::Debug>(message: &M) {
        let bytes = message.encode();
        assert_eq!(M::decode(&bytes).as_ref(), Some(message));
        for cut in 0..bytes.len() {
            assert_eq!(M::decode(&bytes[..cut]), None, "{cut} of {} bytes were accepted", bytes.len());
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(M::decode(&longer), None, "a byte too many was accepted");
    }

    fn a_spawn() -> SpawnOrder {
        SpawnOrder {
            run: 7,
            unit: "redis".into(),
            ordinal: 4,
            program: b"/bin/redis".to_vec(),
            argv: vec![b"redis".to_vec(), b"\xff".to_vec()],
            env: vec![b"A=b".to_vec()],
            working_dir: b"/".to_vec(),
            credentials: Some(Credentials { uid: 1, gid: 2, groups: vec![3, 4] }),
            limits: vec![Limit { resource: 7, soft: 1, hard: u64::MAX }],
            oom_score_adjust: Some(-5),
            log: Some(LogOrder {
                dir: b"/log/redis".as_slice().into(),
                keep: 5,
                kept: Some(KeptOrder { path: b"/out/7".as_slice().into(), most_bytes: 9, is_stderr: true }),
                ..LogOrder::default()
            }),
            timeout_ms: 12,
            given: vec![
                Given::Output,
                Given::Input,
                Given::Listen { key: "redis/tcp:6379".into(), name: "redis".into() },
                Given::ReadyPipe { number: 5 },
            ],
            notify: true,
            log_place: Some(LogPlace { inode: 1, born: 2, offset: 3 }),
            cgroup: Some(CgroupOrder { settings: vec![("memory.max".into(), "max".into())] }),
            confinement: Some(Box::new(Confinement {
                umask: Some(0o27),
                nice: Some(-5),
                cpus: vec![0, 3],
                no_new_privileges: true,
                capabilities: Some(1 << 10),
                writable: Some(vec![b"/data".to_vec()]),
                private_tmp: true,
                credentials: vec![(b"key".to_vec(), b"/etc/key".to_vec())],
                credentials_dir: b"/run/credentials".to_vec(),
            })),
        }
    }

    #[test]
    fn every_order_comes_out_as_it_went_in() {
        for order in [
            Order::Hello { version: 1, pid: 2 },
            Order::Spawn(Box::new(a_spawn())),
            Order::Signal { run: 1, signal: 15, scope: Scope::All },
            Order::Release { run: 1 },
            Order::Remember { key: vec![1], value: vec![] },
            Order::Adopt(Box::new(AdoptOrder {
                run: 9,
                unit: "web".into(),
                spawned_as: Some("www".into()),
                ..AdoptOrder::default()
            })),
            Order::LogTotal { bytes: 1 << 30 },
            Order::Ping { number: 1 },
            Order::Pong { number: 2 },
            Order::Quit { code: 3 },
            Order::CannotBegin { code: 1 },
            Order::AtEnd { finale: Finale::Halt },
            Order::ShutdownTimeout { ms: 60_000 },
            Order::Hold { key: "web/0.0.0.0:80".into() },
            Order::LetGo { key: "web/0.0.0.0:80".into() },
            Order::ForgetStored { unit: "web".into() },
            Order::Rehearse,
            Order::Replace,
            Order::Ready,
            Order::Relog {
                run: 9,
                unit: "www".into(),
                log: Some(LogOrder { keep: 7, ..LogOrder::default() }),
            },
        ] {
            round_trip(&order);
        }
    }

    #[test]
    fn every_report_comes_out_as_it_went_in() {
        let usage = Usage { user_us: 1, system_us: 2, max_rss_kib: 3 };
        let exit = Exit::Signal { number: 9, dumped_core: true };
        let place = LogPlace { inode: 1, born: 0, offset: 2 };
        let row = Row {
            run: 1,
            unit: "redis".into(),
            spawned_as: None,
            ordinal: 1,
            pid: 2,
            start_time: 3,
            spawned_at: 4,
            stage: Stage::Exited { exit, usage, is_empty: true, log_end: Some(place) },
            log: None,
            carries: vec![Carried::Pidfd, Carried::Output, Carried::Notify, Carried::Ready, Carried::Kept],
            is_ready_shown: true,
            log_place: None,
        };
        for report in [
            Report::Hello { version: 1, pid: 1, restarts: 2, safe_mode: true },
            Report::Row(Box::new(row.clone())),
            Report::Row(Box::new(Row {
                stage: Stage::SpawnFailed { step: Step::Exec, errno: 2 },
                ..row.clone()
            })),
            Report::Row(Box::new(Row { stage: Stage::Live, ..row })),
            Report::Note { key: b"k".to_vec(), value: b"v".to_vec() },
            Report::HandedOver { rows: 1, notes: 2 },
            Report::Spawned { run: 1, pid: 2, start_time: 3, carries: vec![Carried::Pidfd] },
            Report::Held { key: "web/0.0.0.0:80".into() },
            Report::Notified { run: 1, text: b"READY=1".to_vec() },
            Report::ReadyShown { run: 1 },
            Report::MainChanged { run: 1, pid: 2, start_time: 3 },
            Report::SpawnFailed { run: 1, step: Step::Timeout, errno: 0 },
            Report::Exited { run: 1, exit: Exit::Code(7), usage, is_empty: false, log_end: Some(place) },
            Report::Exited { run: 1, exit: Exit::Unknown, usage, is_empty: false, log_end: None },
            Report::Emptied { run: 1 },
            Report::Signalled { signal: 15, sender_pid: 1 },
            Report::LogTrouble { unit: "a".into(), errno: 28, lost_bytes: 1 },
            Report::Strangers { reaped: 1 },
            Report::Ping { number: 1 },
            Report::Pong { number: 1 },
            Report::Rehearsed { number: 1, version: "0.2.0".into(), trouble: Some("it hangs".into()) },
            Report::Replaced(Box::new(Replacement {
                number: 2,
                from: "0.1.0".into(),
                to: "0.2.0".into(),
                trouble: None,
                is_news: true,
            })),
        ] {
            round_trip(&report);
        }
    }

    #[test]
    fn a_lie_about_a_length_is_refused_without_being_believed() {
        // Remember with a key of 4 GiB that is not there.
        assert_eq!(Order::decode(&[4, 0xff, 0xff, 0xff, 0xff, 1]), None);
    }
}
