//! Confinement that says nothing, or too much.

use crate::unit::diagnostic::Diagnostic;
use crate::unit::file::UnitFile;

/// Less than any program needs to start; whoever writes 512 means megabytes.
const LEAST_MEMORY_BYTES: u64 = 1 << 20;
/// A hundredth of a processor: below, the kernel has no such share to give.
const LEAST_CPU_PERMILLE: u32 = 10;

pub(super) fn check(unit: &UnitFile, out: &mut Vec<Diagnostic>) {
    let is_read_only = unit.read_only.as_ref().is_some_and(|read_only| read_only.value);
    if let Some(writable) = unit.writable.as_ref().filter(|_| !is_read_only) {
        out.push(
            Diagnostic::error(
                "bad-value",
                writable.key,
                "`writable` takes nothing away: everything is writable",
            )
            .help("write `read_only: true` beside it"),
        );
    }
    let Some(limits) = &unit.limits else { return };
    let bounds = &limits.value.bounds;
    if let Some(memory) = &bounds.memory
        && let Some(bytes) = memory.value.amount().filter(|bytes| *bytes < LEAST_MEMORY_BYTES)
    {
        let message = format!("no program runs in {bytes} bytes of memory");
        let help = format!("did you mean `{bytes}M`? Sizes without a letter are bytes");
        out.push(Diagnostic::error("bad-value", memory.place, message).help(help));
    }
    if let Some(cpu) = bounds.cpu.as_ref().filter(|cpu| cpu.value.0 < LEAST_CPU_PERMILLE) {
        out.push(
            Diagnostic::error("bad-value", cpu.place, "`cpu` is less than a hundredth of a processor")
                .help("write a number of processors such as 0.5"),
        );
    }
    if let Some(tasks) = bounds.tasks.as_ref().filter(|tasks| tasks.value.amount() == Some(0)) {
        out.push(
            Diagnostic::error("bad-value", tasks.place, "`tasks: 0` allows no process at all")
                .help("count the processes and threads that it needs"),
        );
    }
    if let Some(required) = bounds
        .required
        .as_ref()
        .filter(|_| bounds.memory.is_none() && bounds.cpu.is_none() && bounds.tasks.is_none())
    {
        out.push(
            Diagnostic::warning("bad-value", required.key, "`required` requires nothing")
                .help("it says that `memory`, `cpu` and `tasks` beside it must hold"),
        );
    }
}
