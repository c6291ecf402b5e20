//! What the processes of a unit may use and do, as its file says it.

use crate::unit::difference::keys::{factor, owned, size};
use crate::unit::difference::shown::{Shown, map};
use crate::unit::file::resource_name;
use crate::unit::spec::ResourceLimit;
use crate::unit::spec::confinement::{Bounds, Confinement, Credential};

/// The keys, but for `limits`.
pub(super) fn confined(confinement: &Confinement) -> [(&'static str, Option<Shown>); 9] {
    let Confinement {
        bounds: _,
        umask,
        nice,
        no_new_privileges,
        capabilities,
        read_only,
        writable,
        private_tmp,
        cpu_affinity,
        credentials,
    } = confinement;
    let numbers = |numbers: &[u16]| Shown::line(numbers.iter().map(ToString::to_string));
    let powers = capabilities.as_ref().map(|list| Shown::line(list.iter().map(|one| one.name().to_owned())));
    let file = |Credential { name, path }: &Credential| (name.to_string(), Shown::words(path));
    [
        ("no_new_privileges", no_new_privileges.map(|is_so| Shown::is(&is_so))),
        ("capabilities", powers),
        ("read_only", Some(Shown::is(read_only))),
        ("writable", (!writable.is_empty()).then(|| Shown::line(owned(writable)))),
        ("private_tmp", Some(Shown::is(private_tmp))),
        (
            "credentials",
            (!credentials.is_empty()).then(|| Shown::Map(credentials.iter().map(file).collect())),
        ),
        ("umask", umask.map(|mask| Shown::Text(format!("0o{mask:03o}")))),
        ("nice", nice.map(|nice| Shown::is(&nice))),
        ("cpu_affinity", (!cpu_affinity.is_empty()).then(|| numbers(cpu_affinity))),
    ]
}

pub(super) fn limited(limits: &[ResourceLimit], bounds: &Bounds) -> Shown {
    let amount =
        |amount: Option<u64>| amount.map_or_else(|| Shown::is("unlimited"), |amount| Shown::is(&amount));
    let limit = |ResourceLimit { resource, soft, hard }: &ResourceLimit| {
        let both = map([("soft", Some(amount(*soft))), ("hard", Some(amount(*hard)))]);
        (resource_name(*resource).to_owned(), if soft == hard { amount(*soft) } else { both })
    };
    let Bounds { memory_bytes, cpu_permille, tasks, is_required } = bounds;
    let together = [
        ("memory", memory_bytes.map(size)),
        ("cpu", cpu_permille.map(factor)),
        ("tasks", tasks.map(|tasks| Shown::is(&tasks))),
        ("required", is_required.then(|| Shown::is(is_required))),
    ];
    let together =
        together.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value)));
    Shown::Map(together.chain(limits.iter().map(limit)).collect())
}
