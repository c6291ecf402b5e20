//! How an image is written: every field with its number and its length, so that what one version adds
//! the version before it skips, and what is missing is what it was before there was such a field.
//!
//! Numbers of fields and variants are for ever: one that is given up is not given again. Types of the wire are
//! listed here once more, as the two rings that talk over the wire are always of one version and two keepers are not.

use std::sync::Arc;

use crate::keeper::wire::{Carried, Exit, KeptOrder, LogOrder, LogPlace, Row, Stage, Step, Usage};

pub(super) trait Lasting: Sized {
    fn put(&self, out: &mut Vec<u8>);

    /// From exactly these bytes; `None`: they make no sense.
    fn take(bytes: &[u8]) -> Option<Self>;
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Lasting for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_le_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, i32);

impl Lasting for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(bytes: &[u8]) -> Option<Self> {
        Some(u8::take(bytes)? != 0)
    }
}

impl Lasting for String {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn take(bytes: &[u8]) -> Option<Self> {
        Self::from_utf8(bytes.to_vec()).ok()
    }
}

/// Bytes of any meaning, which a list of numbers would take four times as much for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

impl Lasting for Blob {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn take(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.to_vec()))
    }
}

impl Lasting for Arc<[u8]> {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(bytes: &[u8]) -> Option<Self> {
        Some(bytes.into())
    }
}

impl<T: Lasting> Lasting for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        for item in self {
            put_framed(item, out);
        }
    }

    fn take(mut bytes: &[u8]) -> Option<Self> {
        let mut items = Self::new();
        while !bytes.is_empty() {
            items.push(T::take(frame(&mut bytes)?)?);
        }
        Some(items)
    }
}

impl<A: Lasting, B: Lasting> Lasting for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        put_framed(&self.0, out);
        put_framed(&self.1, out);
    }

    fn take(mut bytes: &[u8]) -> Option<Self> {
        let first = A::take(frame(&mut bytes)?)?;
        Some((first, B::take(frame(&mut bytes)?)?))
    }
}

impl<T: Lasting> Lasting for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        if let Some(value) = self {
            out.push(1);
            value.put(out);
        }
    }

    fn take(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first() {
            None => Some(None),
            Some((_, value)) => T::take(value).map(Some),
        }
    }
}

/// The bytes of a value behind their number.
fn put_framed(value: &impl Lasting, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    value.put(out);
    let length = out.len().saturating_sub(start).saturating_sub(8);
    let length = u64::try_from(length).unwrap_or_default().to_le_bytes();
    for (place, byte) in out.iter_mut().skip(start).zip(length) {
        *place = byte;
    }
}

fn frame<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (own, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(own)
}

fn number<'a>(bytes: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    *bytes = rest;
    Some((u16::from_le_bytes(*number), frame(bytes)?))
}

/// A field that is its default is left out.
pub(super) fn put_field<T: Lasting + Default + PartialEq>(number: u16, value: &T, out: &mut Vec<u8>) {
    if *value != T::default() {
        out.extend_from_slice(&number.to_le_bytes());
        put_framed(value, out);
    }
}

/// Every field of a record with its bytes; `None`: they are cut.
pub(super) fn fields(mut bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(number(&mut bytes)?);
    }
    Some(all)
}

/// The value of the field with this number, among those of a record.
pub(super) fn field<T: Lasting + Default>(number: u16, fields: &[(u16, &[u8])]) -> Option<T> {
    match fields.iter().find(|(own, _)| *own == number) {
        Some((_, bytes)) => T::take(bytes),
        None => Some(T::default()),
    }
}

macro_rules! lasting {
    ($type:ident { $($number:literal => $field:ident),* $(,)? }) => {
        impl $crate::keeper::image::lasting::Lasting for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($crate::keeper::image::lasting::put_field($number, $field, out);)*
            }

            fn take(bytes: &[u8]) -> Option<Self> {
                let fields = $crate::keeper::image::lasting::fields(bytes)?;
                $(let $field = $crate::keeper::image::lasting::field($number, &fields)?;)*
                Some(Self { $($field),* })
            }
        }
    };
}

macro_rules! lasting_choice {
    ($type:ident { $($tag:literal => $name:ident { $($number:literal => $field:ident $(: $at:tt)?),* }),* $(,)? }) => {
        impl $crate::keeper::image::lasting::Lasting for $type {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name { $($($at:)? $field),* } => {
                        out.push($tag);
                        $($crate::keeper::image::lasting::put_field($number, $field, out);)*
                    })*
                }
            }

            fn take(bytes: &[u8]) -> Option<Self> {
                let (tag, bytes) = bytes.split_first()?;
                let _fields = $crate::keeper::image::lasting::fields(bytes)?;
                match tag {
                    $($tag => {
                        $(let $field = $crate::keeper::image::lasting::field($number, &_fields)?;)*
                        Some(Self::$name { $($($at:)? $field),* })
                    })*
                    _ => None,
                }
            }
        }
    };
}

pub(super) use {lasting, lasting_choice};

lasting!(Row {
    1 => run,
    2 => unit,
    3 => spawned_as,
    4 => ordinal,
    5 => pid,
    6 => start_time,
    7 => spawned_at,
    8 => stage,
    9 => log,
    10 => carries,
    11 => is_ready_shown,
    12 => log_place,
});
lasting!(LogOrder {
    1 => dir,
    2 => max_size_bytes,
    3 => max_age_ms,
    4 => keep,
    5 => block_when_full,
    6 => kept,
});
lasting!(KeptOrder { 1 => path, 2 => most_bytes, 3 => is_stderr });
lasting!(LogPlace { 1 => inode, 2 => born, 3 => offset });
lasting!(Usage { 1 => user_us, 2 => system_us, 3 => max_rss_kib });
lasting_choice!(Stage {
    0 => Spawning {},
    1 => Live {},
    2 => SpawnFailed { 1 => step, 2 => errno },
    3 => Exited { 1 => exit, 2 => usage, 3 => is_empty, 4 => log_end },
});
lasting_choice!(Exit {
    0 => Code { 1 => code: 0 },
    1 => Signal { 1 => number, 2 => dumped_core },
    2 => Unknown {},
});
lasting_choice!(Carried { 0 => Pidfd {}, 1 => Output {}, 2 => Notify {}, 3 => Ready {}, 4 => Kept {} });
lasting_choice!(Step {
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
