//! The steps of a spawn by number, as a copied child tells them before it leaves.

use crate::keeper::wire::Step;

/// For the child, who may not allocate.
pub(super) fn step_number(step: Step) -> u8 {
    match step {
        Step::Prepare => 0,
        Step::Clone => 1,
        Step::Session => 2,
        Step::Limits => 3,
        Step::OomScore => 4,
        Step::Groups => 5,
        Step::Setgid => 6,
        Step::Setuid => 7,
        Step::Chdir => 8,
        Step::Descriptors => 9,
        Step::Exec => 10,
        Step::Timeout => 11,
        Step::Cgroup => 12,
        Step::Nice => 13,
        Step::CpuAffinity => 14,
        Step::PrivateTmp => 15,
        Step::Credentials => 16,
        Step::ReadOnly => 17,
        Step::NoNewPrivileges => 18,
        Step::Capabilities => 19,
    }
}

pub(super) fn step_of(number: u8) -> Option<Step> {
    Some(match number {
        0 => Step::Prepare,
        1 => Step::Clone,
        2 => Step::Session,
        3 => Step::Limits,
        4 => Step::OomScore,
        5 => Step::Groups,
        6 => Step::Setgid,
        7 => Step::Setuid,
        8 => Step::Chdir,
        9 => Step::Descriptors,
        10 => Step::Exec,
        11 => Step::Timeout,
        12 => Step::Cgroup,
        13 => Step::Nice,
        14 => Step::CpuAffinity,
        15 => Step::PrivateTmp,
        16 => Step::Credentials,
        17 => Step::ReadOnly,
        18 => Step::NoNewPrivileges,
        19 => Step::Capabilities,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_comes_out_of_the_child_as_it_went_in() {
        let all: Vec<Step> = (0..=u8::MAX).map_while(step_of).collect();
        assert!(all.iter().enumerate().all(|(at, step)| usize::from(step_number(*step)) == at), "{all:?}");
        assert_eq!(all.last(), Some(&Step::Capabilities));
    }
}
