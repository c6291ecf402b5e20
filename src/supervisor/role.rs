//! What the engine's helpers are: for each role its command, its lane in the queue, and what its environment
//! tells it. A new role is one arm in each.

use crate::engine::effect::{Lever, Role};
use crate::unit::spec::recover::{Reload, Rung};
use crate::unit::spec::{Template, UnitSpec};

/// Which helpers begin first when there are more than may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Somebody waits for what it does.
    Acts,
    /// It only looks.
    Asks,
}

pub(crate) fn command<'a>(spec: &'a UnitSpec, role: &Role) -> Option<&'a [Template]> {
    let rung = |rung: u16| spec.recover.rungs.get(usize::from(rung));
    match role {
        Role::StopCommand { .. } | Role::Lever(Lever::Stop) => spec.stop.command.as_deref(),
        Role::Lever(Lever::Start) => spec.levers.start.as_deref(),
        Role::Lever(Lever::Restart) => spec.levers.restart.as_deref(),
        Role::Repair { rung: at, .. } => match rung(*at)? {
            Rung::Exec { command, .. } => Some(command),
            Rung::Restart { .. } | Rung::Reload(_) | Rung::Stop | Rung::Alert { .. } => None,
        },
        Role::Reload { rung: at, .. } => match rung(*at)? {
            Rung::Reload(Reload::Command(command)) => Some(command),
            Rung::Reload(Reload::Signal(_))
            | Rung::Exec { .. }
            | Rung::Restart { .. }
            | Rung::Stop
            | Rung::Alert { .. } => None,
        },
    }
}

pub(crate) fn lane(role: &Role) -> Lane {
    match role {
        Role::StopCommand { .. } | Role::Lever(_) | Role::Repair { .. } | Role::Reload { .. } => Lane::Acts,
    }
}

/// Beside the unit's own environment, and over it.
pub(crate) fn environment(spec: &UnitSpec, role: &Role) -> Vec<(&'static str, String)> {
    let mut env = vec![("MCSUP_UNIT", spec.name.as_str().to_owned())];
    match role {
        Role::StopCommand { .. } | Role::Lever(_) => {}
        Role::Repair { incident, cause, .. } => {
            env.push(("MCSUP_INCIDENT", incident.to_string()));
            env.push(("MCSUP_CAUSE", cause.to_string()));
        }
        Role::Reload { incident, .. } => env.push(("MCSUP_INCIDENT", incident.to_string())),
    }
    env
}
