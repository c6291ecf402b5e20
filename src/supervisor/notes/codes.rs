//! The numbers by which notes call things. A number is never given a second meaning.

use crate::engine::change::Stage;
use crate::engine::event::{RunEnd, RunStage, SpawnStep};
use crate::engine::state::{Desired, DownSource, StopStage, UpSource};

pub(super) fn desired_code(desired: Desired) -> u8 {
    match desired {
        Desired::Up(UpSource::Boot) => 0,
        Desired::Up(UpSource::Operator) => 1,
        Desired::Up(UpSource::Dependent) => 2,
        Desired::Down(DownSource::Disabled) => 10,
        Desired::Down(DownSource::Operator) => 11,
        Desired::Down(DownSource::Dependency) => 12,
        Desired::Down(DownSource::Conflict) => 13,
        Desired::Down(DownSource::Shutdown) => 14,
        Desired::Down(DownSource::Removed) => 15,
    }
}

pub(super) fn desired_of(code: u8) -> Option<Desired> {
    Some(match code {
        0 => Desired::Up(UpSource::Boot),
        1 => Desired::Up(UpSource::Operator),
        2 => Desired::Up(UpSource::Dependent),
        10 => Desired::Down(DownSource::Disabled),
        11 => Desired::Down(DownSource::Operator),
        12 => Desired::Down(DownSource::Dependency),
        13 => Desired::Down(DownSource::Conflict),
        14 => Desired::Down(DownSource::Shutdown),
        15 => Desired::Down(DownSource::Removed),
        _ => return None,
    })
}

pub(super) fn change_stage_code(stage: Stage) -> u8 {
    match stage {
        Stage::Stopping => 0,
        Stage::Clearing => 1,
        Stage::Verifying => 2,
        Stage::Confirming => 3,
    }
}

pub(super) fn change_stage_of(code: u8) -> Option<Stage> {
    Some(match code {
        0 => Stage::Stopping,
        1 => Stage::Clearing,
        2 => Stage::Verifying,
        3 => Stage::Confirming,
        _ => return None,
    })
}

pub(super) fn stage_code(stage: StopStage) -> u8 {
    match stage {
        StopStage::Command => 0,
        StopStage::Signalled => 1,
        StopStage::Sweeping => 2,
        StopStage::Killed => 3,
        StopStage::Unkillable => 4,
        StopStage::Capturing => 5,
    }
}

pub(super) fn stage_of(code: u8) -> Option<StopStage> {
    Some(match code {
        0 => StopStage::Command,
        1 => StopStage::Signalled,
        2 => StopStage::Sweeping,
        3 => StopStage::Killed,
        4 => StopStage::Unkillable,
        5 => StopStage::Capturing,
        _ => return None,
    })
}

pub(super) fn step_code(step: SpawnStep) -> u8 {
    match step {
        SpawnStep::Expand => 0,
        SpawnStep::Lookup => 1,
        SpawnStep::Prepare => 2,
        SpawnStep::Clone => 3,
        SpawnStep::Session => 4,
        SpawnStep::Limits => 5,
        SpawnStep::OomScore => 6,
        SpawnStep::Groups => 7,
        SpawnStep::Setgid => 8,
        SpawnStep::Setuid => 9,
        SpawnStep::Chdir => 10,
        SpawnStep::Descriptors => 11,
        SpawnStep::Exec => 12,
        SpawnStep::Timeout => 13,
        SpawnStep::Listen => 14,
        SpawnStep::Cgroup => 15,
        SpawnStep::Nice => 16,
        SpawnStep::CpuAffinity => 17,
        SpawnStep::PrivateTmp => 18,
        SpawnStep::Credentials => 19,
        SpawnStep::ReadOnly => 20,
        SpawnStep::NoNewPrivileges => 21,
        SpawnStep::Capabilities => 22,
    }
}

pub(super) fn step_of(code: u8) -> Option<SpawnStep> {
    Some(match code {
        0 => SpawnStep::Expand,
        1 => SpawnStep::Lookup,
        2 => SpawnStep::Prepare,
        3 => SpawnStep::Clone,
        4 => SpawnStep::Session,
        5 => SpawnStep::Limits,
        6 => SpawnStep::OomScore,
        7 => SpawnStep::Groups,
        8 => SpawnStep::Setgid,
        9 => SpawnStep::Setuid,
        10 => SpawnStep::Chdir,
        11 => SpawnStep::Descriptors,
        12 => SpawnStep::Exec,
        13 => SpawnStep::Timeout,
        14 => SpawnStep::Listen,
        15 => SpawnStep::Cgroup,
        16 => SpawnStep::Nice,
        17 => SpawnStep::CpuAffinity,
        18 => SpawnStep::PrivateTmp,
        19 => SpawnStep::Credentials,
        20 => SpawnStep::ReadOnly,
        21 => SpawnStep::NoNewPrivileges,
        22 => SpawnStep::Capabilities,
        _ => return None,
    })
}

pub(super) fn run_stage_code(stage: RunStage) -> u8 {
    match stage {
        RunStage::Running => 0,
        RunStage::Capturing => 1,
        RunStage::Signalled => 2,
        RunStage::Sweeping => 3,
        RunStage::Killed => 4,
        RunStage::Unkillable => 5,
        RunStage::Judging => 6,
    }
}

pub(super) fn run_stage_of(code: u8) -> Option<RunStage> {
    Some(match code {
        0 => RunStage::Running,
        1 => RunStage::Capturing,
        2 => RunStage::Signalled,
        3 => RunStage::Sweeping,
        4 => RunStage::Killed,
        5 => RunStage::Unkillable,
        6 => RunStage::Judging,
        _ => return None,
    })
}

pub(super) fn run_end_code(end: RunEnd) -> u8 {
    match end {
        RunEnd::TimedOut => 0,
        RunEnd::Replaced => 1,
        RunEnd::Down => 2,
    }
}

pub(super) fn run_end_of(code: u8) -> Option<RunEnd> {
    Some(match code {
        0 => RunEnd::TimedOut,
        1 => RunEnd::Replaced,
        2 => RunEnd::Down,
        _ => return None,
    })
}
